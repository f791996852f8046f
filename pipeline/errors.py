"""The errors that users see, one tree; all of them are in ``meso`` and ``schemas``, too.

    MesoError
      ConfigError                     the set-up
      ArgumentError (ValueError)      what a function was called with
        ArgumentTypeError (TypeError)
      DataError                       the data
        NotFoundError                 the database does not have it
          OutOfRangeError (IndexError)
        DamagedError                  the database has it no more

Every message says where (session, FOV, dataset), what was expected, what was found and what to do. What else is raised
is a fault of ours, or of a library.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "ConfigError",
    "DamagedError",
    "DataError",
    "MesoError",
    "NotFoundError",
    "OutOfRangeError",
]


class MesoError(Exception):
    """Any error that this project raises on purpose."""


class ConfigError(MesoError):
    """The set-up is wrong: database, ONE, an account, an environment variable, an optional package that is missing."""


class ArgumentError(MesoError, ValueError):
    """An argument of a call, or a setting, has a value that it cannot have."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of a type that it cannot be, such as one session id where a list of them is meant."""


class DataError(MesoError):
    """Data of one session, FOV or dataset cannot be used; its subclasses say why where callers tell them apart.

    Parameters
    ----------
    problem : str
        What is wrong, in one clause.
    eid, fov, dataset : optional
        Where: session id, number of the FOV, name or path of the dataset.
    expected, found : optional
        The two values that disagree.
    do : str, optional
        What the user can do about it.
    """

    def __init__(
        self, problem: str, *, eid: str | None = None, fov: int | None = None, dataset: str | None = None,
        expected: Any = None, found: Any = None, do: str | None = None,
    ) -> None:  # fmt: skip
        self.problem, self.eid, self.fov, self.dataset = problem, eid, fov, dataset
        self.expected, self.found, self.do = expected, found, do
        super().__init__(str(self))

    def __str__(self) -> str:
        where = [
            f"session {self.eid}" if self.eid is not None else None,
            f"FOV_{self.fov:02d}" if self.fov is not None else None,
            self.dataset,
        ]
        place = ", ".join(part for part in where if part)
        text = f"{place}: {self.problem}" if place else self.problem
        numbers = [("expected", self.expected), ("found", self.found)]
        if any(value is not None for _, value in numbers):
            text += f" ({', '.join(f'{name} {value}' for name, value in numbers if value is not None)})"
        return f"{text}. {self.do}" if self.do else f"{text}."

    def located(self, *, eid: str | None = None, fov: int | None = None, dataset: str | None = None) -> DataError:
        """Return the same error, of a session, FOV and dataset."""
        return type(self)(
            self.problem, eid=eid, fov=fov, dataset=dataset, expected=self.expected, found=self.found, do=self.do
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.__class__, self.__dict__.copy())


class NotFoundError(DataError):
    """What is asked for is not in the database: a session, a ROI, a tracking run, activity not populated yet."""


class OutOfRangeError(NotFoundError, IndexError):
    """Rows are asked for that the data do not have."""


class DamagedError(DataError):
    """Stored bytes are not those that were written, or are gone: restore a backup, or delete and populate again."""


def _rebuild(cls: type[DataError], state: dict[str, Any]) -> DataError:
    """Rebuild a DataError in another process (keyword-only arguments defeat the default way)."""
    return cls(state.pop("problem"), **state)
