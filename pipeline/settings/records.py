"""One record per setting, from which its checks, column, command-line option and documentation are made.

A class of settings is a frozen dataclass whose fields are made by ``setting``. Everything else reads
``settings_in(cls)``, so that a setting is added or changed in one place.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any, TypeVar

from pipeline.errors import ArgumentError, ArgumentTypeError

T = TypeVar("T")


class Kind(ABC):
    """The values that a setting may have."""

    @property
    @abstractmethod
    def expected(self) -> str:
        """Description of the values, to follow "must be": for example 'a whole number from 1'."""

    @property
    @abstractmethod
    def metavar(self) -> str:
        """Placeholder for a value in the help of the command line."""

    @abstractmethod
    def take(self, value: Any) -> Any:
        """Return the normal form of a value (5 for ``np.int64(5)`` and 5.0).

        Raises
        ------
        ValueError, TypeError, OverflowError
            The value is not allowed; ``Setting.take`` turns this into a message.
        """

    def read(self, text: str) -> Any:
        """Return the value of a command-line argument, for ``take``; raise ArgumentError if it has none."""
        return text

    def plain(self, value: Any) -> Any:
        """Return a normal form as a JSON value."""
        return value

    def stored(self, value: Any) -> Any:
        """Return a normal form as its column stores it."""
        return value

    def restored(self, value: Any) -> Any:
        """Return the value of a column, for ``take``."""
        return value


def _scalar(value: Any) -> Any:
    """Return a value unless it is text or an array: ``int`` and ``float`` would convert text and arrays of length 1."""
    if isinstance(value, str | bytes) or _dimensions(value):
        raise ArgumentTypeError
    return value


def _dimensions(value: Any) -> int:
    """Return the number of dimensions of an array; 0 for other values and 0-dimensional arrays."""
    return int(getattr(value, "ndim", 0))


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number, ``least`` or larger."""

    least: int

    metavar = "INTEGER"

    @property
    def expected(self) -> str:
        return f"a whole number from {self.least}"

    def take(self, value: Any) -> int:
        number = int(_scalar(value))
        # 5.5 is cut by int(), and then differs
        if number != value or number < self.least:
            raise ArgumentError
        return number

    def read(self, text: str) -> int | float:
        try:
            return int(text)
        except ValueError:
            return float(text)  # 5.0 and 1e3 are whole numbers too; ``take`` refuses 5.5


@dataclass(frozen=True)
class Number(Kind):
    """A finite number from ``least``, above ``above`` and below ``below``; or None if ``optional``."""

    least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    optional: bool = False

    metavar = "FLOAT"

    @property
    def expected(self) -> str:
        bounds = {"from": self.least, "above": self.above, "below": self.below}
        limits = [f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound)]
        return f"a number {' and '.join(limits)}" if limits else "a finite number"

    def take(self, value: Any) -> float | None:
        if value is None and self.optional:
            return None
        number = float(_scalar(value))
        if not (math.isfinite(number) and self.least <= number and self.above < number < self.below):
            raise ArgumentError
        return number

    def read(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True)
class Flag(Kind):
    """True or False."""

    expected = "True or False"
    metavar = ""

    def take(self, value: Any) -> bool:
        # by value and not by bool(), for which 2 and "no" are True
        if _scalar(value) not in (True, False):  # 1, 0 and NumPy's are equal to these
            raise ArgumentError
        return bool(value)


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few values; '' among them stands for a default that depends on other settings."""

    choices: tuple[Any, ...]
    #: Words that the scripts used for a choice.
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> list[str]:
        """The choices as text, without ''."""
        return [str(choice) for choice in self.choices if choice != ""]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.named)}"

    @property
    def metavar(self) -> str:
        return f"[{'|'.join(self.named)}]"

    def take(self, value: Any) -> Any:
        if _dimensions(value):
            raise ArgumentTypeError
        # ours and not the caller's: 0 for 0.0 or False, so that the normal form is hashed
        return self.choices[self.choices.index(self._named(value))]

    def read(self, text: str) -> Any:
        return self.choices[list(map(str, self.choices)).index(self._named(text))]

    def _named(self, value: Any) -> Any:
        return self.aliases.get(value, value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Name(Kind):
    """Text that is not blank."""

    noun: str
    example: str

    metavar = "NAME"

    @property
    def expected(self) -> str:
        return f"{self.noun} such as {self.example!r}"

    def take(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ArgumentError
        return str(value).strip()


@dataclass(frozen=True)
class Several(Kind):
    """A set of values of one kind, given as a sequence and kept sorted; NULL in the database if empty.

    Parameters
    ----------
    item : Kind
        Of the values.
    empty : bool
        Whether it may be empty.
    repeats : bool
        Whether a value may be repeated; repeats are dropped.
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
            raise ArgumentTypeError
        is_scalar = not isinstance(value, Iterable) or getattr(value, "ndim", None) == 0  # 8 means [8]
        found = [self.item.take(item) for item in ([value] if is_scalar else value)]
        # sorted, so that the order in which values are given does not change the key
        normal = tuple(sorted(set(found)))
        if not (found or self.empty) or (len(normal) < len(found) and not self.repeats):
            raise ArgumentError
        return normal

    def read(self, text: str) -> list[Any]:
        return [self.item.read(word) for word in filter(None, map(str.strip, text.split(",")))]

    def plain(self, value: Any) -> list[Any]:
        return list(value)

    def stored(self, value: Any) -> list[Any] | None:
        return list(value) or None

    def restored(self, value: Any) -> Any:
        return () if value is None else value


#: Value of ``before`` for settings that the first version of the tables already had.
ALWAYS: Any = object()


@dataclass(frozen=True)
class Setting:
    """Everything about one setting.

    Attributes
    ----------
    kind : Kind
    default : object
        MISSING for a setting that must be given.
    help : str
        Sentences for the help of the command line, the docstring and docs/reference/settings.md.
    group : str
        Its heading there.
    sql : str
        DataJoint type of its column.
    comment : str
        Comment of the column.
    column : str
        Name of the column, if it is not that of the setting.
    letter : str
        A second name: ``R`` in Python, ``-R`` on the command line.
    before : object
        Value that stands for what was done before the setting existed; also the column's default. Never change it:
        keys are hashes without the settings that have this value, so that older rows keep their keys.
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
        """Name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default as typed on the command line; '' if there is none to show."""
        if self.default in (MISSING, None, "", ()):
            return ""
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return {True: "yes", False: "no"}[self.default] if isinstance(self.kind, Flag) else str(self.default)

    @property
    def type_text(self) -> str:
        """The type as in a docstring."""
        if isinstance(self.kind, Choice) and "" not in self.kind.choices:
            return f"{{{', '.join(map(repr, self.kind.choices))}}}"
        # annotations are text (from __future__ import annotations)
        return re.sub(r"tuple\[(\w+), \.\.\.]", r"tuple of \1", self.annotation).replace(" | None", ", optional")

    @property
    def line(self) -> str:
        """The line of its column in the definition of a table."""
        default = f"={_sql_literal(self.before)}" if self.came_later else ""
        start = f"{self.column}{default} : {self.sql}"
        return f"{start:<34}  # {self.comment}" if self.comment else start

    def take(self, value: Any) -> Any:
        """Return the normal form of a value.

        Raises
        ------
        ArgumentError
            The value is not allowed; the message names the setting, what was expected and what was found.
        """
        try:
            return self.kind.take(value)
        except (ValueError, TypeError, OverflowError) as error:
            # most kinds raise without words: what they expect says it all
            why = f": {error}" if isinstance(error, ArgumentError) and error.args else ""
            raise ArgumentError(f"{self.name} must be {self.kind.expected}, not {value!r}{why}") from None

    def read(self, text: str) -> Any:
        """Return the normal form of a command-line argument; errors as in ``take``."""
        try:
            value = self.kind.read(text)
        except ValueError:
            raise ArgumentError(f"{self.name} must be {self.kind.expected}, not {text!r}") from None
        return self.take(value)

    @property
    def came_later(self) -> bool:
        """Whether it was added after the first version of the tables."""
        return self.before is not ALWAYS

    def says_before(self, value: Any) -> bool:
        """Return whether a value stands for what was done before the setting existed."""
        return self.came_later and bool(value == self.before)


def _sql_literal(value: Any) -> str:
    """Return a default as written in a DataJoint table definition."""
    if value in (None, ()):
        return "null"
    # 0 and 1 for bools: both servers take them as defaults
    return repr(value) if isinstance(value, str) else str(int(value) if isinstance(value, bool) else value)


def setting(kind: Kind, default: Any = MISSING, **words: Any) -> Any:
    """Return a dataclass field for a setting; the arguments are those of ``Setting``."""
    return field(default=default, metadata={"setting": Setting(kind, default, **words)})


def settings_in(cls: type) -> tuple[Setting, ...]:
    """Return the records of a class of settings, in the order of its fields."""
    return tuple(_record(fld) for fld in fields(cls) if "setting" in fld.metadata)


def _record(fld: Field[Any]) -> Setting:
    """Return the record of a field, completed with the field's name, which ``setting`` cannot know."""
    record: Setting = fld.metadata["setting"]
    return replace(record, name=fld.name, column=record.column or fld.name, annotation=str(fld.type))


def by_group(cls: type) -> dict[str, list[Setting]]:
    """Return the records of a class of settings by their headings."""
    groups: dict[str, list[Setting]] = {}
    for record in settings_in(cls):
        groups.setdefault(record.group, []).append(record)
    return groups


def columns_of(cls: type) -> str:
    """Return the lines of a table definition for a class of settings."""
    return "\n".join(record.line for record in settings_in(cls))


def documented(cls: type[T]) -> type[T]:
    """Replace ``{settings}`` in the docstring of a class by the list of its settings."""
    if cls.__doc__:  # python -OO removes docstrings
        text = inspect.cleandoc(cls.__doc__)  # as Python 3.13 has them when it compiles
        cls.__doc__ = text.replace("{settings}", _docstring_list(settings_in(cls)))
    return cls


def _docstring_list(records: Sequence[Setting]) -> str:
    entries = [
        f"{record.name} : {record.type_text}\n{textwrap.indent(textwrap.fill(record.help, 108), ' ' * 4)}"
        for record in records
    ]
    return "\n".join(entries)
