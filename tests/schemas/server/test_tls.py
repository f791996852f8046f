"""DJ_USE_TLS and MESO_TLS_CA mean what they say, also through a proxy that strips TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.databases import one_line, own_server
from support.faults import proxied

from pipeline.errors import ConfigError
from schemas.server import tls

#: Prints the cipher of the connection, '' without TLS.
CIPHER = """
from schemas.server.connection import connect
connection = connect()
if connection.adapter.backend == "mysql":
    print(connection.query("SHOW STATUS LIKE 'Ssl_cipher'").fetchone()[1])
else:
    print(connection.query("SELECT cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0] or "")
"""


@pytest.fixture(scope="module")
def stripping(database, server, backend) -> Iterator[dict[str, str]]:
    """Variables of a server behind a proxy that says that the server has no TLS, as an attacker would."""
    with proxied(server) as proxy:
        yield {**own_server(backend), **proxy.variables}


@pytest.mark.parametrize("value", [None, "false"])
def test_without_tls_through_a_proxy_that_strips_it(stripping, python_command, value):
    done = python_command("-c", CIPHER, env={**stripping, "DJ_USE_TLS": value})
    assert done.stdout == "\n", done.stderr


@pytest.mark.parametrize("more", [{"DJ_USE_TLS": "true"}, {"MESO_TLS_CA": "system"}])
def test_required_tls_refuses_a_proxy_that_strips_it(stripping, meso_command, more):
    line = one_line(meso_command("db", "status", env={**stripping, **more}))
    assert "is not used: TLS is required (DJ_USE_TLS=true), and the server, or something between, offers none" in line


@pytest.mark.parametrize(("value", "is_encrypted"), [(None, True), ("true", True), ("false", False)])
def test_mysql_encrypts_as_asked_for(database, backend, python_command, value, is_encrypted):
    if backend != "mysql":
        pytest.skip("the tests reach PostgreSQL by a Unix socket, which has no TLS")
    done = python_command("-c", CIPHER, env={"DJ_USE_TLS": value})
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout.strip()) is is_encrypted


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Path:
    """A folder with the certificate of an authority, ca.pem, and one that it has signed for 127.0.0.1, server.pem."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, begin = tmp_path_factory.mktemp("authority"), datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server", "other")}
    for name in keys:
        issuer = "ca" if name == "server" else name
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - datetime.timedelta(days=1))
            .not_valid_after(begin + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=name != "server", path_length=None), critical=True)
        )
        if name == "server":
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        signed = builder.sign(keys[issuer], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            keys[name].private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return folder


@pytest.fixture
def certified(database, backend, authority) -> Iterator[None]:
    """MySQL with the certificate of the authority."""
    if backend != "mysql":
        pytest.skip("the tests reach PostgreSQL by a Unix socket, which has no TLS")
    names = {"ssl_ca": "ca.pem", "ssl_cert": "server.pem", "ssl_key": "server.key"}
    before = {name: database.query(f"SELECT @@{name}").fetchone()[0] for name in names}

    def present(files: dict[str, str]) -> None:
        for name, file in files.items():
            database.query(f"SET GLOBAL {name} = %s", args=(file,))
        database.query("ALTER INSTANCE RELOAD TLS")

    present({name: str(authority / file) for name, file in names.items()})
    yield
    present(before)


@pytest.mark.parametrize(
    ("ca", "host", "refused"),
    [
        ("ca.pem", "127.0.0.1", None),
        ("ca.pem", "localhost", "its certificate is not one that MESO_TLS_CA trusts for this host name"),
        ("other.pem", "127.0.0.1", "its certificate is not one that MESO_TLS_CA trusts for this host name"),
        ("system", "127.0.0.1", "its certificate is not one that MESO_TLS_CA trusts for this host name"),
    ],
)
def test_a_certificate_is_verified(certified, authority, python_command, ca, host, refused):
    path = ca if ca == "system" else str(authority / ca)
    done = python_command("-c", CIPHER, env={"MESO_TLS_CA": path, "DJ_HOST": host})
    if refused:
        assert refused in done.stderr
        assert done.returncode
    else:
        assert done.stdout.strip(), done.stderr


def test_settings_that_contradict_each_other(monkeypatch, tmp_path):
    import datajoint as dj

    monkeypatch.setenv(tls.CA, "system")
    with dj.config.override(database__use_tls=False), pytest.raises(ConfigError, match="unset one of them"):
        tls.wanted()
    monkeypatch.setenv(tls.CA, str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match="there is no such file"):
        tls.wanted()


def test_what_libpq_and_pymysql_are_told(monkeypatch, authority):
    assert tls.postgresql(None) == tls.postgresql(False) == {"sslmode": "disable"}
    assert tls.postgresql(True) == {"sslmode": "require"}
    assert tls.mysql(None) is tls.mysql(False) is False
    assert tls.mysql(True).verify_mode == ssl.CERT_NONE
    monkeypatch.setenv(tls.CA, str(authority / "ca.pem"))
    assert tls.postgresql(True) == {"sslmode": "verify-full", "sslrootcert": str(authority / "ca.pem")}
    assert tls.mysql(True).verify_mode == ssl.CERT_REQUIRED
    assert tls.mysql(True).check_hostname
