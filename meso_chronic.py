"""The script of this name, for notebooks that import it: functions of ``meso``."""

from __future__ import annotations

from meso import match_tracked_indices_across_sessions

__all__ = ["match_tracked_indices_across_sessions"]
