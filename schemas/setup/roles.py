"""Roles and accounts on the database server.

``RIGHTS`` declares the rights of the four roles. ``grant`` gives an account a role; ``renew`` updates the roles on the
server, ``<prefix>reader`` etc., to the declaration, also for tables that were declared since.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj
from datajoint.errors import AccessError

from pipeline.errors import ConfigError
from schemas.server.binding import table_modules
from schemas.server.connection import connect, has_own_server
from schemas.server.settings import prefix
from schemas.setup.migrations import database_version

READ = ("SELECT",)
ADD = ("SELECT", "INSERT")
WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")
DDL = ("CREATE", "ALTER", "DROP", "GRANT")
ALL = (*WRITE, *DDL)

#: Rights of each role, by kind of table: see ``kind_of``.
RIGHTS: dict[str, dict[str, tuple[str, ...]]] = {
    "registered": {"reader": READ, "worker": READ, "curator": WRITE, "admin": ALL},
    "computed": {"reader": READ, "worker": WRITE, "curator": WRITE, "admin": ALL},
    "jobs": {"reader": READ, "worker": WRITE, "curator": WRITE, "admin": ALL},
    "workers": {"reader": READ, "worker": WRITE, "curator": WRITE, "admin": ALL},
    "records": {"reader": READ, "worker": ADD, "curator": ADD, "admin": ALL},
    "database": {"reader": READ, "worker": READ, "curator": READ, "admin": ALL},
    "lineage": {"reader": READ, "worker": READ, "curator": READ, "admin": ALL},
    "views": {"reader": READ, "worker": READ, "curator": READ, "admin": ALL},
}
#: Tables of the module provenance in which all who compute and delete may add rows, but change none.
RECORDS = (
    "environment", "deletion", "deletion__file", "source_update", "source_update__done",
    "source_update__of_subject", "source_update__mixture", "former_result",
)  # fmt: skip
ROLES = ("reader", "worker", "curator", "admin")
#: Roles with rights table by table; an admin has all rights on the schemas.
BY_TABLE = ROLES[:-1]
#: Allowed on both servers: no quotes, no wildcards, and the 32 characters that MySQL allows.
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
HOST = re.compile(r"[A-Za-z0-9_.:%/-]{1,255}")
#: Longest name of a role on MySQL.
MAX_NAME_LENGTH = 32


def kind_of(module: str, table: str) -> str:
    """Return the kind of a table from the name of its module and its own name in the database."""
    # DataJoint's names: ~~table is a job table, ~lineage its own; _ or __ is an Imported or Computed table
    if table.startswith("~"):
        return "jobs" if table.startswith("~~") else "lineage"
    if module in ("views", "workers"):
        return module
    if module == "provenance":
        return "records" if table in RECORDS else "database"
    # workers write down which of a session's files they have read are those that were registered
    return "computed" if table.startswith("_") or table == "session__file" else "registered"


@dataclass
class Granted:
    """An account that was given a role.

    Attributes
    ----------
    account : str
        Its name, as the server shows it.
    password : str or None
        A new password, which is stored nowhere else. None if the account keeps its password.
    notes : list of str
        Remarks for the server's administrator.
    """

    account: str
    password: str | None = field(repr=False)
    notes: list[str] = field(default_factory=list)


def grant(user: str, role: str, host: str | None = None, *, new_password: bool = False) -> Granted:
    """Give an account one role in place of its other roles of this project; create the account if it does not exist.

    Parameters
    ----------
    user : str
    role : {'reader', 'worker', 'curator', 'admin'}
    host : str, optional
        Host from which the account connects, on MySQL only; by default that of an existing account, or any. Accounts
        that connect over a network must use TLS.
    new_password : bool
        Give an existing account a new password.

    Raises
    ------
    ConfigError
        The name or host is invalid, the server allows connections over a network without TLS, the tables are not
        declared, or the present account may not create accounts.
    """
    if role not in ROLES:
        raise ConfigError(f"{role!r} is not a role; the roles are {', '.join(ROLES)}")
    _check_names(user, host)
    if not has_own_server():
        raise ConfigError(
            "Roles are for a lab's server: the embedded database is for one person. Set DJ_HOST to use a server"
        )
    connection = connect()
    if database_version(connection) is None:
        raise ConfigError(f"The database has no tables with the prefix {prefix()}: declare them with meso db init")
    server = SERVERS[connection.adapter.backend](connection)
    try:
        return server.grant(user, role, host, new_password)
    except Exception as error:
        if not _is_denied(error):
            raise
        raise ConfigError(
            f"{connection.get_user()} may not create accounts or grant roles ({_first_line(error)}): "
            f"use an account that administers the server"
        ) from None


def renew() -> bool:
    """Update the rights of the roles to ``RIGHTS``; return False if the server has no roles yet."""
    connection = connect()
    server = SERVERS[connection.adapter.backend](connection)
    if not server.has_roles():
        return False
    server.renew()
    return True


def _check_names(user: str, host: str | None) -> None:
    if not USER.fullmatch(user):
        raise ConfigError(
            f"{user[:40]!r} cannot be an account: use up to 32 letters, digits, _, . and -, starting with a letter or _"
        )
    if user in map(role_name, ROLES):
        raise ConfigError(f"{user} is the name of a role, not of an account")
    if host is not None and not HOST.fullmatch(host):
        raise ConfigError(
            f"--host {host[:40]!r} is not a host name or address; MySQL also allows patterns, e.g. 10.0.%"
        )


def role_name(role: str) -> str:
    """Return the name of a role on the server."""
    return prefix() + role


def schema_names() -> list[str]:
    """Return the names of all schemas, including that of the views."""
    return [prefix() + name for name in (*table_modules(), "views")]


def declared(connection: dj.Connection) -> set[tuple[str, str, str, str]]:
    """Return the rights that the roles should have on the existing tables, as (role, schema, table, right)."""
    marks = ", ".join(["%s"] * len(schema_names()))
    tables = connection.query(
        f"SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ({marks})",
        args=schema_names(),
    ).fetchall()
    return {
        (role_name(role), schema, table, right)
        for schema, table in tables
        for role in BY_TABLE
        for right in RIGHTS[kind_of(schema.removeprefix(prefix()), table)][role]
    }


class Server:
    """Roles and accounts: what MySQL and PostgreSQL have in common."""

    #: Format of a role's name in information_schema.
    grantee = "{}"
    #: Rights that are granted together with SELECT.
    with_select: tuple[str, ...] = ()

    def __init__(self, connection: dj.Connection) -> None:
        self.connection, self.query = connection, connection.query

    def renew(self) -> None:
        """Grant the rights that the roles lack, and revoke those that are not declared."""
        self.own()
        wanted = declared(self.connection)
        wanted |= {(*row[:3], more) for row in wanted if row[3] == "SELECT" for more in self.with_select}
        found = self.found()
        for verb, rights in (("GRANT {} ON {} TO {}", wanted - found), ("REVOKE {} ON {} FROM {}", found - wanted)):
            for (role, schema, table), names in _by_table(rights).items():
                full = self.connection.adapter.make_full_table_name(schema, table)
                self.query(verb.format(", ".join(names), full, self.quoted(role)))

    def found(self) -> set[tuple[str, str, str, str]]:
        """Return the rights that the roles have, as far as this account can see them."""
        names = {self.grantee.format(role_name(role)): role_name(role) for role in BY_TABLE}
        rows = self.query(
            "SELECT grantee, table_schema, table_name, privilege_type FROM information_schema.table_privileges "
            "WHERE grantee IN (%s, %s, %s)",
            args=list(names),
        ).fetchall()
        return {(names[grantee], *row) for grantee, *row in rows if row[0] in schema_names()}

    def own(self) -> None:
        """Give the role admin all rights on the schemas and everything in them."""
        raise NotImplementedError

    @staticmethod
    def quoted(name: str) -> str:
        """Return the name of a role in SQL."""
        raise NotImplementedError


def _by_table(rights: Iterable[tuple[str, str, str, str]]) -> dict[tuple[str, str, str], list[str]]:
    tables: dict[tuple[str, str, str], list[str]] = {}
    for role, schema, table, right in sorted(rights):
        tables.setdefault((role, schema, table), []).append(right)
    return tables


class MySQL(Server):
    """Roles and accounts of MySQL.

    Passwords are sent as arguments of statements, which DataJoint does not log.
    """

    grantee = "'{}'@'%'"

    @staticmethod
    def quoted(name: str) -> str:
        """See ``Server``; names of roles have no characters to escape."""
        return f"`{name}`"

    def has_roles(self) -> bool:
        """Return whether the roles exist; an admin account may not read mysql.user, but has a role itself."""
        try:
            sql = "SELECT count(*) FROM mysql.user WHERE user = %s"
            return bool(self.query(sql, args=(role_name("admin"),)).fetchone()[0])
        except AccessError:
            return role_name("admin") in self.query("SELECT CURRENT_ROLE()").fetchone()[0]

    def own(self) -> None:
        # a pattern, so that it holds for schemas of later versions; an unescaped _ would match any character
        pattern = prefix().replace("_", r"\_")
        self.query(f"GRANT ALL PRIVILEGES ON `{pattern}%%`.* TO `{role_name('admin')}` WITH GRANT OPTION")

    def grant(self, user: str, role: str, host: str | None, new_password: bool) -> Granted:
        """See ``grant``."""
        if len(role_name("curator")) > MAX_NAME_LENGTH:
            raise ConfigError(
                f"names of roles have at most {MAX_NAME_LENGTH} characters on MySQL: MESO_PREFIX is too long"
            )
        if role == "admin" and not self.has_patterns():
            raise ConfigError(
                "the role admin needs rights on a pattern of schemas; MySQL does not allow that with partial_revokes=ON"
            )
        for name in map(role_name, ROLES):
            self.query(f"CREATE ROLE IF NOT EXISTS `{name}`")
        self.renew()
        account, is_new = self.account(user, host)
        # 24 random bytes, 32 characters without quotes or spaces
        password = secrets.token_urlsafe(24) if is_new or new_password else None
        if password:
            verb = "CREATE" if is_new else "ALTER"
            # in one statement, as each is committed by itself: there is never a new account without TLS
            tls = " REQUIRE SSL" if is_new and not is_loopback(account[1]) else ""
            self.query(f"{verb} USER %s@%s IDENTIFIED BY %s{tls}", args=(*account, password))
        if not is_loopback(account[1]):
            self.require_tls(account)
        for other in self.roles_of(account) - {role_name(role)}:
            self.query(f"REVOKE `{other}` FROM %s@%s", args=account)
        self.query(f"GRANT `{role_name(role)}` TO %s@%s", args=account)
        # without a default role a granted role is inactive until SET ROLE
        self.query(f"SET DEFAULT ROLE `{role_name(role)}` TO %s@%s", args=account)
        return Granted("'{}'@'{}'".format(*account), password, self.notes(account))

    def has_patterns(self) -> bool:
        """Return whether rights can be granted on a pattern of schema names."""
        rows = self.query("SHOW VARIABLES LIKE 'partial_revokes'").fetchall()
        return ("partial_revokes", "ON") not in rows

    def account(self, user: str, host: str | None) -> tuple[tuple[str, str], bool]:
        """Return user and host of the account, and whether it is new."""
        hosts = [row[0] for row in self.query("SELECT host FROM mysql.user WHERE user = %s", args=(user,)).fetchall()]
        if host is None and len(hosts) > 1:
            raise ConfigError(f"There are accounts {user} for {', '.join(sorted(hosts))}: choose one with --host")
        host = host or (hosts[0] if hosts else "%")
        return (user, host), host not in hosts

    def require_tls(self, account: tuple[str, str]) -> None:
        """Require TLS of an account, unless it is required to show a certificate, which implies TLS."""
        sql = "SELECT CAST(ssl_type AS CHAR) FROM mysql.user WHERE user = %s AND host = %s"
        if not self.query(sql, args=account).fetchone()[0]:
            self.query("ALTER USER %s@%s REQUIRE SSL", args=account)

    def roles_of(self, account: tuple[str, str]) -> set[str]:
        """Return the roles of this project that an account has."""
        sql = "SELECT from_user FROM mysql.role_edges WHERE to_user = %s AND to_host = %s"
        return {row[0] for row in self.query(sql, args=account).fetchall()} & set(map(role_name, ROLES))

    def notes(self, account: tuple[str, str]) -> list[str]:
        """Return a note for each right that an account has besides its role."""
        given = [row[0] for row in self.query("SHOW GRANTS FOR %s@%s", args=account).fetchall()]
        more = [text for text in given if not text.startswith(("GRANT USAGE ON *.*", f"GRANT `{prefix()}"))]
        return [f"The account has other rights too, which are left unchanged: {text}" for text in more]


class PostgreSQL(Server):
    """Roles and accounts of PostgreSQL.

    The server gets only a verifier of a password (SCRAM), never the password itself.
    """

    # PostgreSQL does not show the keys of tables to accounts with SELECT alone: joins would be cross products
    with_select = ("REFERENCES",)

    @staticmethod
    def quoted(name: str) -> str:
        """See ``Server``; also for names of accounts and databases."""
        # %%: the driver takes a single % for a placeholder
        return '"' + name.replace('"', '""').replace("%", "%%") + '"'

    def has_roles(self) -> bool:
        """Return whether the roles exist."""
        return self.exists(role_name("admin"))

    def exists(self, name: str) -> bool:
        """Return whether a role or an account of this name exists."""
        return bool(self.query("SELECT count(*) FROM pg_roles WHERE rolname = %s", args=(name,)).fetchone()[0])

    def own(self) -> None:
        quote, admin = self.quoted, self.quoted(role_name("admin"))
        role_names = ", ".join(quote(role_name(role)) for role in ROLES)
        marks = ", ".join(["%s"] * len(schema_names()))
        objects = self.query(
            "SELECT kind, name FROM ("
            "SELECT 'SCHEMA' AS kind, quote_ident(nspname) AS name, nspname, nspowner AS owner FROM pg_namespace "
            "UNION ALL SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, "
            "quote_ident(nspname) || '.' || quote_ident(relname), nspname, relowner "
            "FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'v') "
            "UNION ALL SELECT 'TYPE', quote_ident(nspname) || '.' || quote_ident(typname), nspname, typowner "
            "FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace WHERE typtype = 'e'"
            f") AS things WHERE nspname IN ({marks}) AND owner <> (SELECT oid FROM pg_roles WHERE rolname = %s)",
            args=(*schema_names(), role_name("admin")),
        ).fetchall()
        for kind, name in objects:
            self.query(f"ALTER {kind} {name} OWNER TO {admin}")
            if kind == "SCHEMA":
                self.query(f"GRANT USAGE ON SCHEMA {name} TO {role_names}")

    def grant(self, user: str, role: str, host: str | None, new_password: bool) -> Granted:
        """See ``grant``; in one transaction."""
        if host is not None:
            raise ConfigError("--host is for MySQL only: on PostgreSQL pg_hba.conf says from where accounts connect")
        notes = self.check_tls(user)
        with self.connection.transaction:
            self.make_roles()
            self.renew()
            is_new = not self.exists(user)
            account, password = self.quoted(user), secrets.token_urlsafe(24) if is_new or new_password else None
            if is_new:
                self.query(f"CREATE ROLE {account} LOGIN")
            if password:
                self.query(f"ALTER ROLE {account} PASSWORD %s", args=(self.verifier(user, password),))
            for other in set(ROLES) - {role}:
                # PostgreSQL only warns where there was nothing to revoke
                self.query(f"REVOKE {self.quoted(role_name(other))} FROM {account}")
            self.query(f"GRANT {self.quoted(role_name(role))} TO {account}")
        return Granted(user, password, notes + self.notes(user))

    def make_roles(self) -> None:
        """Create the roles that do not exist; the role admin may create schemas."""
        for name in map(role_name, ROLES):
            if not self.exists(name):
                self.query(f"CREATE ROLE {self.quoted(name)} NOLOGIN")
        database = self.quoted(self.query("SELECT current_database()").fetchone()[0])
        self.query(f"GRANT CREATE ON DATABASE {database} TO {self.quoted(role_name('admin'))}")

    def verifier(self, user: str, password: str) -> str:
        """Return the verifier that PostgreSQL stores for a password, so that its log never has the password."""
        from psycopg2.extensions import encrypt_password

        return encrypt_password(password, user, scope=self.connection._conn, algorithm="scram-sha-256")

    def check_tls(self, user: str) -> list[str]:
        """Refuse a server whose pg_hba.conf lets the account connect over a network without TLS; return notes."""
        try:
            rules = self.query(
                "SELECT line_number, type, database, user_name, address, auth_method FROM pg_hba_file_rules "
                "WHERE error IS NULL ORDER BY line_number"
            ).fetchall()
        except AccessError:
            return [f"This account may not read pg_hba.conf. It should contain: {self.hba_line(user)}"]
        database = self.query("SELECT current_database()").fetchone()[0]
        plain = plain_rules(rules, database, user)
        if plain:
            raise ConfigError(
                f"pg_hba.conf lets {user} connect over a network without TLS (line {', '.join(map(str, plain))}): set "
                f"ssl = on, replace host by hostssl there, as in '{self.hba_line(user)}', and reload the server"
            )
        return []

    def hba_line(self, user: str) -> str:
        """Return the rule of pg_hba.conf that lets an account connect over a network with TLS."""
        return f"hostssl {self.query('SELECT current_database()').fetchone()[0]} {user} all scram-sha-256"

    def notes(self, user: str) -> list[str]:
        """Return a note for each role and right that an account has besides its role."""
        others = self.query(
            "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid "
            "JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = %s ORDER BY 1",
            args=(user,),
        ).fetchall()
        more = [f"the role {name}" for (name,) in others if name not in map(role_name, ROLES)]
        if self.query("SELECT rolsuper FROM pg_roles WHERE rolname = %s", args=(user,)).fetchone()[0]:
            more.append("all rights, as a superuser")
        return [f"The account has other rights too, which are left unchanged: {text}" for text in more]


SERVERS: dict[str, Any] = {"mysql": MySQL, "postgresql": PostgreSQL}


def plain_rules(rules: Iterable[tuple], database: str, user: str) -> list[int]:
    """Return the lines of pg_hba.conf by which an account can connect over a network without TLS.

    Parameters
    ----------
    rules : iterable of (line, type, databases, users, address, method)
        Rows of pg_hba_file_rules in their order: PostgreSQL uses the first rule that matches a connection.
    database, user : str
    """
    lines = []
    for line, kind, databases, users, address, method in rules:
        # + names a group and / a pattern, which may include the account: counted as if they did
        for_user = {"all", user} & set(users or ()) or any(name.startswith(("+", "/")) for name in users or ())
        for_database = {"all", database, "sameuser"} & set(databases or ())
        if kind not in ("host", "hostnossl") or not for_user or not for_database:
            continue
        if method != "reject" and not is_loopback(address or ""):
            lines.append(line)
        # no later rule can match
        elif method == "reject" and address == "all" and "all" in users and "all" in databases:
            break
    return lines


def is_loopback(host: str) -> bool:
    """Return whether a host is the server's own machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "samehost")


def _is_denied(error: Exception) -> bool:
    """Return whether an error is the refusal of a missing right."""
    # 1227: MySQL's refusal for statements on accounts and roles, which DataJoint does not translate
    return isinstance(error, AccessError) or error.args[:1] == (1227,)


def _first_line(error: Exception) -> str:
    return " ".join(map(str, error.args)).strip().splitlines()[0]
