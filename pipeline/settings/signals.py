"""Settings of the signal: what the activity of a cell is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.errors import ArgumentError

#: Signals that can be asked for: the first two are files.
KINDS = ("deconvolved", "fluorescence", "dff")
#: The signals as text.
IN_WORDS = {"deconvolved": "deconvolved activity", "fluorescence": "fluorescence", "dff": "dF/F"}


@dataclass(frozen=True)
class DffSettings:
    """Settings of dF/F; the defaults are those of Suite2p (``neucoeff``, ``win_baseline``, ``prctile_baseline``).

    Attributes
    ----------
    neuropil : float
        Part of the neuropil that is subtracted, from 0; with 0 none is needed.
    window : float
        Length of the baseline's window, s.
    percentile : float
        Of the values in the window, from 0 to 100.

    Raises
    ------
    ArgumentError
        A value is out of range.
    """

    neuropil: float = 0.7
    window: float = 60.0
    percentile: float = 8.0

    def __post_init__(self) -> None:
        for field in fields(self):  # 60 is 60.0, which the database returns: equal settings have the same key
            object.__setattr__(self, field.name, float(getattr(self, field.name)))
        if not (0 <= self.neuropil < math.inf and 0 < self.window < math.inf and 0 <= self.percentile <= 100):
            raise ArgumentError(f"dF/F needs neuropil >= 0, window > 0 s and a percentile of 0 to 100, not {self}")


@dataclass(frozen=True)
class SignalSettings:
    """A signal that is asked for, whatever each FOV was read with.

    Attributes
    ----------
    kind : {'deconvolved', 'fluorescence', 'dff'}
    of_dff : DffSettings
        Has an effect on dF/F only.

    Raises
    ------
    ArgumentError
        There is no such signal.
    """

    kind: str
    of_dff: DffSettings = DffSettings()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ArgumentError(f"signal must be one of {', '.join(KINDS)}, not {self.kind!r}")

    @classmethod
    def named(cls, signal: str | SignalSettings) -> SignalSettings | None:
        """Return the settings of a signal that is named, with the default dF/F; None for ''."""
        return (cls(signal) if signal else None) if isinstance(signal, str) else signal

    @classmethod
    def of_values(cls, values: dict[str, Any] | None) -> SignalSettings | None:
        """Return the settings of which ``dataclasses.asdict`` gave these values; None for None."""
        return cls(values["kind"], DffSettings(**values["of_dff"])) if values else None

    @property
    def needs_neuropil(self) -> bool:
        """Whether the neuropil is read."""
        return self.kind == "dff" and self.of_dff.neuropil > 0

    def content(self) -> dict[str, Any]:
        """Return what determines the traces, as plain values."""
        return {"kind": self.kind, **(asdict(self.of_dff) if self.kind == "dff" else {})}
