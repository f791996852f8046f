"""The errors that users see.

Every message says where (session, FOV, dataset), what was expected, what was found and what to do.
"""

from __future__ import annotations

from typing import Any


class MesoError(Exception):
    """Any error that this project raises on purpose."""


class ConfigError(MesoError):
    """The set-up is wrong: database, ONE, settings, an optional package that is missing."""


class DataError(MesoError):
    """Data of one session, FOV or dataset cannot be used.

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


def _rebuild(cls: type[DataError], state: dict[str, Any]) -> DataError:
    """Rebuild a DataError in another process (keyword-only arguments defeat the default way)."""
    return cls(state.pop("problem"), **state)
