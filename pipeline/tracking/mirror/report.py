"""The report of one run of the mirror."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MirrorReport:
    """Result of one run of `mirror_uids`. Paths are relative to ``<dest>/ROICaT/<subject>``.

    Parameters
    ----------
    fetched : tuple of str
        Files written: new, repaired, or (``refresh=True``) replaced.
    unchanged : tuple of str
        Files that are equal in the mirror and at the source.
    changed : tuple of str
        Files whose content at the source differs from what was mirrored before: they are of another tracking run.
        Those that were replaced are also in `fetched`.
    failed : tuple of (str, str)
        Path and reason.
    n_sessions : int
        Sessions with at least one UID file at the source.
    """

    fetched: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    n_sessions: int = 0

    @property
    def stale(self) -> tuple[str, ...]:
        """Changed files that were not replaced, so the mirror is out of date."""
        return tuple(sorted(set(self.changed) - set(self.fetched)))

    @property
    def ok(self) -> bool:
        """Whether the mirror equals the source."""
        return not self.failed and not self.stale

    @property
    def warning(self) -> str | None:
        """Message for the user if files of another tracking run were found and not replaced, else None."""
        if not self.stale:
            return None
        return (
            f"{len(self.stale)} mirrored files have changed at the source (first: {self.stale[0]}): "
            "they are of another tracking run. UIDs of two runs cannot be compared, so no files were added. "
            "Mirror again with refresh to replace them all"
        )
