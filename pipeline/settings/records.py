"""What is known of a setting, in one record: checks, column, option and documentation are made from it.

A class of settings is a frozen dataclass whose fields are made by ``setting``. Everything else reads
``settings_in(cls)``, so that a setting is added, or changed, in one place.
"""

from __future__ import annotations

import math
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, TypeVar

from pipeline.errors import ArgumentError

T = TypeVar("T")


class Kind(ABC):
    """What values a setting may have."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """What they are in words that follow "is", such as 'a whole number from 1'."""

    @property
    @abstractmethod
    def metavar(self) -> str:
        """What the help of the command line calls a value."""

    @abstractmethod
    def take(self, value: Any) -> Any:
        """Return the one normal form of a value (5 for ``np.int64(5)`` and 5.0).

        Raises
        ------
        ValueError, TypeError, OverflowError
            It is none of these; ``Setting.take`` says what was expected and what was found.
        """

    def read(self, text: str) -> Any:
        """Return what a word of the command line means, for ``take``; ValueError if it means nothing."""
        return text

    def plain(self, value: Any) -> Any:
        """Return a value that has been taken as JSON has it."""
        return value

    def stored(self, value: Any) -> Any:
        """Return a value that has been taken as its column has it."""
        return value

    def restored(self, value: Any) -> Any:
        """Return the value of a column, to be taken by ``take``."""
        return value


def _one(value: Any) -> Any:
    """Return a value that can be one number: ``int`` and ``float`` would take text, and arrays of one, too."""
    if isinstance(value, str | bytes) or _dimensions(value):
        raise TypeError
    return value


def _dimensions(value: Any) -> int:
    """Return those of an array; 0 of anything else, and of a number in an array without."""
    return int(getattr(value, "ndim", 0))


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number, from ``least`` on."""

    least: int

    metavar = "INTEGER"

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least}"

    def take(self, value: Any) -> int:
        number = int(_one(value))
        if number != value or number < self.least:
            raise ValueError
        return number

    def read(self, text: str) -> int | float:
        try:
            return int(text)
        except ValueError:
            return float(text)  # 5.0 and 1e3 are whole, too


@dataclass(frozen=True)
class Number(Kind):
    """A finite number, from ``least`` on or above ``above``, and below ``below``; or None, if it is ``optional``."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    optional: bool = False

    metavar = "FLOAT"

    @property
    def expected(self) -> str:
        bounds = {"from": self.least, "above": self.above, "below": self.below}
        told = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
        return f"a number {' and '.join(told)}" if told else "a finite number"

    def take(self, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        number = float(_one(value))
        if not (math.isfinite(number) and self.least <= number and self.above < number < self.below):
            raise ValueError
        return number

    def read(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True)
class Flag(Kind):
    """Yes or no."""

    expected = "True or False"
    metavar = ""

    def take(self, value: Any) -> bool:
        if _one(value) not in (True, False):  # 1, 0 and NumPy's are equal to these
            raise ValueError
        return bool(value)


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few; '' among them stands for a default that depends on other settings."""

    choices: tuple[Any, ...]

    @property
    def named(self) -> list[str]:
        """The choices as words."""
        return [str(choice) for choice in self.choices if choice != ""]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.named)}"

    @property
    def metavar(self) -> str:
        return f"[{'|'.join(self.named)}]"

    def take(self, value: Any) -> Any:
        if _dimensions(value):
            raise TypeError
        return self.choices[self.choices.index(value)]

    def read(self, text: str) -> Any:
        return self.choices[list(map(str, self.choices)).index(text)]


@dataclass(frozen=True)
class Name(Kind):
    """Text that is not blank, such as ``example``."""

    noun: str
    example: str

    metavar = "NAME"

    @property
    def expected(self) -> str:
        return f"{self.noun} such as {self.example!r}"

    def take(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError
        return str(value).strip()


@dataclass(frozen=True)
class Several(Kind):
    """A sequence of values of one kind, whose order says nothing; NULL in the database for none.

    Parameters
    ----------
    item : Kind
    empty : bool
        There may be none.
    repeats : bool
        A value may come twice, which says nothing.
    """

    item: Kind
    empty: bool = True
    repeats: bool = False

    @property
    def expected(self) -> str:
        number = "" if self.empty else " of one or more"
        return f"a list{number}, each {self.item.expected}{'' if self.repeats else ', none twice'}"

    @property
    def metavar(self) -> str:
        return f"{self.item.metavar},..."

    def take(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, str | bytes | Mapping):
            raise TypeError
        is_one = not isinstance(value, Iterable) or getattr(value, "ndim", None) == 0  # 8 is [8]
        found = [self.item.take(one) for one in ([value] if is_one else value)]
        normal = tuple(sorted(set(found)))
        if not (found or self.empty) or (len(normal) < len(found) and not self.repeats):
            raise ValueError
        return normal

    def read(self, text: str) -> list[Any]:
        return [self.item.read(word) for word in filter(None, map(str.strip, text.split(",")))]

    def plain(self, value: Any) -> list[Any]:
        return list(value)

    def stored(self, value: Any) -> list[Any] | None:
        return list(value) or None

    def restored(self, value: Any) -> Any:
        return () if value is None else value


#: Value of ``before`` for a setting that the first version of the tables had.
ALWAYS: Any = object()


@dataclass(frozen=True)
class Setting:
    """Everything about one setting.

    Attributes
    ----------
    kind : Kind
    default : object
        MISSING where it must be given.
    help : str
        Sentences for the command line, the docstring and the page of documentation.
    group : str
        Heading that it stands under there.
    sql : str
        DataJoint type of its column.
    comment : str
        Of the column.
    column : str
        Name of the column where it is not that of the setting.
    letter : str
        Another word for it: ``R`` in Python, ``-R`` on the command line.
    before : object
        What was done before the setting existed. Never change it: keys are hashes that leave out settings with this
        value, so that rows keep the keys that they had. It is also the column's default.
    name, annotation : str
        Of the field.
    """

    kind: Kind
    default: Any
    help: str
    group: str
    sql: str
    comment: str = ""
    column: str = ""
    letter: str = ""
    before: Any = ALWAYS
    name: str = ""
    annotation: str = ""

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default as the command line would have it; '' if there is none to speak of."""
        if self.default in (MISSING, None, "", ()):
            return ""
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return {True: "yes", False: "no"}[self.default] if isinstance(self.kind, Flag) else str(self.default)

    @property
    def type_text(self) -> str:
        """The type as a docstring has it."""
        if isinstance(self.kind, Choice) and "" not in self.kind.choices:
            return f"{{{', '.join(map(repr, self.kind.choices))}}}"
        return re.sub(r"tuple\[(\w+), \.\.\.]", r"tuple of \1", self.annotation).replace(" | None", ", optional")

    @property
    def line(self) -> str:
        """The line of its column in the definition of a table."""
        default = f"={_sql_literal(self.before)}" if self.came_later else ""
        start = f"{self.column}{default} : {self.sql}"
        return f"{start:<34}  # {self.comment}" if self.comment else start

    def take(self, value: Any) -> Any:
        """Return the one normal form of a value.

        Raises
        ------
        ArgumentError
            It is not of the kind; the message names the setting, what was expected and what was found.
        """
        try:
            return self.kind.take(value)
        except (ValueError, TypeError, OverflowError):
            raise ArgumentError(f"{self.name} is {self.kind.expected}, not {value!r}") from None

    def read(self, text: str) -> Any:
        """Return the normal form of what the command line says; errors as of ``take``."""
        try:
            value = self.kind.read(text)
        except ValueError:
            raise ArgumentError(f"{self.name} is {self.kind.expected}, not {text!r}") from None
        return self.take(value)

    @property
    def came_later(self) -> bool:
        """Whether the first version of the tables lacked it."""
        return self.before is not ALWAYS

    def says_before(self, value: Any) -> bool:
        """Return whether a value asks for what was done before the setting existed."""
        return self.came_later and bool(value == self.before)


def _sql_literal(value: Any) -> str:
    """Return a default as DataJoint's definitions have it."""
    if value in (None, ()):
        return "null"
    return repr(value) if isinstance(value, str) else str(int(value) if isinstance(value, bool) else value)


def setting(kind: Kind, default: Any = MISSING, **words: Any) -> Any:
    """Return the field of a dataclass that is a setting; the arguments are those of ``Setting``."""
    return field(default=default, metadata={"setting": Setting(kind, default, **words)})


def settings_in(cls: type) -> tuple[Setting, ...]:
    """Return the records of a class of settings, in the order of its fields."""
    return tuple(_record(one) for one in fields(cls) if "setting" in one.metadata)


def _record(one: Field[Any]) -> Setting:
    """Return the record of a field, which knows its name only now."""
    record: Setting = one.metadata["setting"]
    return replace(record, name=one.name, column=record.column or one.name, annotation=str(one.type))


def by_group(cls: type) -> dict[str, list[Setting]]:
    """Return the records of a class of settings under the heading that each stands under."""
    groups: dict[str, list[Setting]] = {}
    for one in settings_in(cls):
        groups.setdefault(one.group, []).append(one)
    return groups


def columns_of(cls: type) -> str:
    """Return the lines of a table's definition that hold a class of settings."""
    return "\n".join(one.line for one in settings_in(cls))


def documented(cls: type[T]) -> type[T]:
    """List the settings of a class in its docstring, where that says ``{settings}``."""
    if cls.__doc__:  # not with python -OO
        cls.__doc__ = cls.__doc__.replace("{settings}", _docstring_list(settings_in(cls)))
    return cls


def _docstring_list(records: Sequence[Setting]) -> str:
    entries = [
        f"{one.name} : {one.type_text}\n{textwrap.indent(textwrap.fill(one.help, 108), ' ' * 4)}" for one in records
    ]
    return textwrap.indent("\n".join(entries), "    ").lstrip()
