"""What one run of the mirror did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MirrorReport:
    """What one run of `mirror_uids` did. Paths are relative to ``<dest>/ROICaT/<subject>``.

    Parameters
    ----------
    fetched : tuple of str
        Files written: new, repaired, or (``refresh=True``) replaced.
    unchanged : tuple of str
        Files that are the same here and at the source.
    changed : tuple of str
        Files whose content at the source is not the one mirrored before: another tracking run.
        Those which were replaced are in `fetched` too.
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
        """Changed files that were not replaced: the mirror is behind the source."""
        return tuple(sorted(set(self.changed) - set(self.fetched)))

    @property
    def ok(self) -> bool:
        """Whether the mirror equals the source."""
        return not self.failed and not self.stale

    @property
    def warning(self) -> str | None:
        """What the user must know about tracking runs, or None."""
        if not self.stale:
            return None
        return (
            f"{len(self.stale)} mirrored files were regenerated at the source (first: {self.stale[0]}). "
            "UIDs of two tracking runs cannot be compared: nothing new was added. "
            "Mirror again with refresh to replace them all"
        )
