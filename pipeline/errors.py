"""The errors that this project raises on purpose, in one tree; ``meso`` and ``schemas`` export them too.

    MesoError
      ConfigError                     the set-up is wrong
      ArgumentError (ValueError)      a function was called with a wrong value
        ArgumentTypeError (TypeError)
      DataError                       data cannot be used
        SettingsError                 data, as they are, give no result with these settings
        NotFoundError                 data are not in the database
          OutOfRangeError (IndexError)
        DamagedError                  stored data are damaged or lost

Every message says where (session, FOV, dataset), what was expected, what was found and what to do. Any other exception
is a bug in this project, or comes from a library.
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
    "SettingsError",
]


class MesoError(Exception):
    """Any error that this project raises on purpose."""


class ConfigError(MesoError):
    """The set-up is wrong: database, ONE, an account, an environment variable, a missing optional package."""


class ArgumentError(MesoError, ValueError):
    """An argument of a call, or a setting, has a value that is not allowed."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument has a type that is not allowed, such as a single session id instead of a list of them."""


class DataError(MesoError):
    """Data of a session, FOV or dataset cannot be used. Subclasses are for cases that callers handle differently.

    Parameters
    ----------
    problem : str
        What is wrong, in one clause.
    eid, fov, dataset : optional
        Session id, number of the FOV, name or path of the dataset.
    expected, found : optional
        What was expected, and what was found instead.
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
        """Return the same error with its session, FOV and dataset."""
        return type(self)(
            self.problem, eid=eid, fov=fov, dataset=dataset, expected=self.expected, found=self.found, do=self.do
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.__class__, self.__dict__.copy())


class SettingsError(DataError):
    """Data, as they are, give no result with these settings: only other settings, or other data, help."""


class NotFoundError(DataError):
    """Something is not in the database: a session, an ROI, a tracking run, activity that is not populated yet."""


class OutOfRangeError(NotFoundError, IndexError):
    """A row number is out of range."""


class DamagedError(DataError):
    """Stored bytes differ from those written, or are missing: restore a backup, or delete and populate again."""


def _rebuild(cls: type[DataError], state: dict[str, Any]) -> DataError:
    """Rebuild a DataError in another process: exceptions with keyword-only arguments cannot be unpickled by default."""
    return cls(state.pop("problem"), **state)
