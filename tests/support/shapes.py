"""Which shapes of statements each test sends to MySQL, and which tests could therefore run on PostgreSQL alone.

A shape is a statement, or a query within it, without what differs from call to call: values, lengths of lists, prefixes
of databases, and how DataJoint combines restrictions by keys. Queries are taken apart because DataJoint nests them in
each other in ever other ways. Run as a script from the root of the repository; it uses a server that it starts itself
(``mysql_server.py``):

``python tests/support/shapes.py record FILE [arguments of pytest]`` runs tests on MySQL, also those marked
``one_backend``, and writes a line of JSON per test and shared fixture: its shapes, and the seconds of the processor of
pytest, of the server and of all that they start.

``python tests/support/shapes.py choose FILE`` prints the shapes that only tests marked ``one_backend`` send, which
break the rule of that mark, and what the other tests add to each other, beginning with those that add most per second.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pymysql
import pytest

#: The beginning of an entry in the server's general log, with the kind of command; what it says follows.
ENTRY = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z\t *\d+ (\w+(?: \w+)?)\t?", re.MULTILINE)
TOKEN = re.compile(
    r"""(?P<value>(?:\b_(?:binary|utf8mb4)\s* | \b[xX])?'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*"
                | (?<!NOT\ )(?<!IS\ )\bNULL\b | (?<![\w.])-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\b)
      | `(?P<name>[^`]*)` | (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
#: What repeats as often as a list is long: rows, conditions and parts of a union, also with parentheses inside.
PARENTHESES = r"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
KEY = r"\(`\w+`=\?\)(?: ?AND ?\(`\w+`=\?\))*"
REPEATED = re.compile(rf"({PARENTHESES}|{KEY})(?: ?(?:OR|,|AND|UNION|UNION ALL) ?\1)+")
WITHIN = re.compile(rf"\( ?({PARENTHESES}) ?\)")
#: Beside those of ``binding.MODULES``.
OTHER_SCHEMAS = ("views", "work_tables", "as_filled")
VALUES = re.compile(r"\((?:\?|DEFAULT)(?: ?, ?(?:\?|DEFAULT))+\)")
#: A restriction by values of columns or by another query, as DataJoint writes it, however often it is combined.
BY_KEYS = re.compile(
    r"WHERE (?:`\w+`|[=?(), ]|\b(?:AND|OR|NOT|not|in|IN|query|eid|False|FALSE)\b)+(?=$| ORDER| LIMIT| GROUP)"
)


def shapes_of(statement: str, schemas: frozenset[str]) -> Iterator[str]:
    """Yield the shapes of a statement and of the queries within it, without prefixes of the given schemas."""

    def general(token: re.Match[str]) -> str:
        if token["name"] is None:
            return " " if token["space"] else "?"
        name = re.sub(r"\$[0-9a-f]+|[0-9a-f]{8,}|\d+", "0", token["name"])  # DataJoint counts the queries of a process
        return f"`{next((schema for schema in schemas if name.endswith(f'_{schema}')), name)}`"

    text = VALUES.sub("(?)", TOKEN.sub(general, statement)).strip()
    text = re.sub(KEY, lambda key: "AND".join(sorted(re.split(" ?AND ?", key[0]))), text)  # as a set has them
    while (shorter := WITHIN.sub(r"\1", REPEATED.sub(r"\1", text))) != text:
        text = shorter
    while (start := text.rfind("(SELECT")) >= 0:
        stop = _closed(text, start)
        yield from _queries(text[start + 1 : stop])
        text = f"{text[:start]}(query{text[stop:]}"
    yield from _queries(text)


def _queries(text: str) -> Iterator[str]:
    """Yield the queries of which a union is made, or the one."""
    for query in re.split(r" UNION(?: ALL)? ", text):
        yield BY_KEYS.sub("WHERE keys", query)


def _closed(text: str, start: int) -> int:
    """Return where the parenthesis that is opened at ``start`` is closed; the end where it is not."""
    depth = 0
    for place, letter in enumerate(text[start:], start):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place
    return len(text)


class Recorder:
    """A plugin of pytest that writes what each test and each shared fixture sends.

    Parameters
    ----------
    path : Path
        Of the file to write.
    """

    __name__ = "shapes"  # as pytest knows it

    def __init__(self, path: Path) -> None:
        self.file = path.open("w")
        self.log: Path | None = None
        self.known: dict[str, int] = {}
        self.sums: dict[str, tuple[float, set[int]]] = {}
        self.owners = ["start"]
        self.seconds = self._seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope == "function":
            return (yield)
        self._credit()
        self.owners.append(owner(fixturedef))
        try:
            made = yield
            if fixturedef.argname == "server":
                self._listen(made)
            return made
        finally:
            self._credit()
            self.owners.pop()

    def pytest_fixture_post_finalizer(self, fixturedef, request):
        self._credit(None if fixturedef.scope == "function" else owner(fixturedef))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        self._credit("start")
        self.owners = [item.nodeid]
        try:
            return (yield)
        finally:
            self._credit()
            used = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
            shared = [owner(fixturedef) for fixturedef in used if fixturedef.scope != "function"]
            self._write(item.nodeid, item.get_closest_marker("one_backend") is not None, shared)
            self.owners = ["start"]

    def pytest_unconfigure(self, config):
        for name in list(self.sums):
            self._write(name, False, [])
        self.file.write(json.dumps({"shapes": list(self.known)}) + "\n")
        self.file.close()

    def _listen(self, server: dict[str, str]) -> None:
        """Have the server log what it is sent."""
        with pymysql.connect(
            host=server["DJ_HOST"], port=int(server["DJ_PORT"]), user=server["DJ_USER"], password=server["DJ_PASS"]
        ) as connection, connection.cursor() as cursor:  # fmt: skip
            cursor.execute("SET GLOBAL general_log = ON")
            cursor.execute("SELECT @@datadir, @@general_log_file")
            self.log = Path(*cursor.fetchone())
        if not self.log.exists():
            raise pytest.UsageError(f"the server's log {self.log} is not on this machine: unset MESO_TEST_MYSQL")

    def _credit(self, name: str | None = None) -> None:
        """Add what was sent and computed since the last call to the sums of a test or fixture."""
        name = name or self.owners[-1]
        seconds, shapes = self.sums.setdefault(name, (0.0, set()))
        now = self._seconds()
        shapes |= {self.known.setdefault(each, len(self.known)) for each in self._sent()}
        self.sums[name] = (seconds + max(now - self.seconds, 0), shapes)
        self.seconds = self._seconds()

    def _sent(self) -> Iterator[str]:
        """Yield the shapes of the statements in the log, and empty it."""
        from schemas.server.binding import MODULES

        if self.log is None or not self.log.exists():  # until the server is started, and after its end
            return
        text = self.log.read_bytes().decode("latin-1")
        with self.log.open("r+b") as log:  # the server appends
            log.truncate(0)
        names = frozenset((*MODULES, *OTHER_SCHEMAS))
        entries = ENTRY.split(text)
        for kind, statement in zip(entries[1::2], entries[2::2], strict=True):
            if kind == "Query":
                yield from shapes_of(statement, names)

    @staticmethod
    def _seconds() -> float:
        """Return the seconds of the processor of this process and of all that it has started."""
        total = 0.0
        for process in [(me := psutil.Process()), *me.children(recursive=True)]:
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.NoSuchProcess:
                continue
        return total

    def _write(self, name: str, one_backend: bool, used: list[str]) -> None:
        seconds, shapes = self.sums.pop(name, (0.0, set()))
        line = {"name": name, "one_backend": one_backend, "uses": used, "seconds": seconds, "sends": sorted(shapes)}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


def owner(fixturedef) -> str:
    return f"{fixturedef.baseid}::{fixturedef.argname}"


class Recorded:
    """What a run has recorded.

    Parameters
    ----------
    path : Path
        Of the file that ``record`` wrote.
    """

    def __init__(self, path: Path) -> None:
        *lines, last = (json.loads(line) for line in path.read_text().splitlines())
        self.shapes: list[str] = last["shapes"]
        self.lines = {line["name"]: line for line in lines}
        used = {name for line in lines for name in line["uses"]}
        self.tests = [line["name"] for line in lines if line["name"] not in used and line["name"] != "start"]

    def sends(self, test: str) -> set[int]:
        """Return the shapes that a test and its fixtures send."""
        names = [test, *(name for name in self.lines[test]["uses"] if name in self.lines)]
        return {shape for name in names for shape in self.lines[name]["sends"]}

    def costs(self, test: str, paid: set[str]) -> float:
        """Return the seconds of a test and of those of its fixtures that no other test has paid for."""
        new = set(self.lines[test]["uses"]) & set(self.lines) - paid
        return 0.01 + self.lines[test]["seconds"] + sum(self.lines[name]["seconds"] for name in new)

    def only_elsewhere(self) -> dict[int, str]:
        """Return the shapes that no test on MySQL sends, each with a test that does on one backend."""
        here = {shape for test in self.tests if not self.lines[test]["one_backend"] for shape in self.sends(test)}
        return {
            shape: test
            for test in self.tests
            for shape in self.sends(test) - here
            if self.lines[test]["one_backend"]
        }  # fmt: skip

    def choice(self) -> Iterator[tuple[str, set[int], float]]:
        """Yield tests that together send all shapes of those on MySQL: test, what it adds, seconds.

        Greedy: the next is the one with most new shapes per second.
        """
        left = {test: self.sends(test) for test in self.tests if not self.lines[test]["one_backend"]}
        paid: set[str] = set()
        while any(left.values()):
            test = max(left, key=lambda each: len(left[each]) / self.costs(each, paid))
            added = left.pop(test)
            yield test, added, self.costs(test, paid)
            paid |= set(self.lines[test]["uses"])
            left = {name: sent - added for name, sent in left.items()}


def choose(path: Path) -> None:
    recorded = Recorded(path)
    for number, test in sorted(recorded.only_elsewhere().items(), key=lambda item: item[1]):
        print(f"only in {test}, which is marked one_backend:\n    {recorded.shapes[number]}")
    chosen = {test: (added, seconds) for test, added, seconds in recorded.choice()}
    for test in recorded.tests:
        if recorded.lines[test]["one_backend"]:
            continue
        if test not in chosen:
            print(f"{recorded.lines[test]['seconds']:6.2f} s    -     {test}")
            continue
        added, seconds = chosen[test]
        print(f"{seconds:6.2f} s {len(added):4d} new {test}")
        for number in sorted(added)[:3]:
            print(f"{'':18}{recorded.shapes[number][:200]}")
    seconds = sum(line["seconds"] for line in recorded.lines.values())
    print(f"{seconds:.0f} s in all, {sum(each for _, each in chosen.values()):.0f} s of the tests with new shapes")


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0] not in ("record", "choose"):
        print("usage: shapes.py record FILE [arguments of pytest] | choose FILE", file=sys.stderr)
        return 2
    path = Path(arguments[1])
    if arguments[0] == "record":
        return pytest.main(["--backend", "mysql", *arguments[2:]], plugins=[Recorder(path)])
    choose(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
