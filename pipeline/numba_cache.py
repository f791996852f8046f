"""A folder for numba's cache where neither the code nor the home can be written, as in containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.folders import can_be_written, own_temporary_folder


def choose_folder() -> None:
    """Give numba a cache in a temporary folder if it would find no other; without a cache it compiles nothing."""
    import numba

    config: Any = numba.config
    others = Path(__file__).parent / "__pycache__", Path(os.path.expanduser("~/.cache"))
    if not config.CACHE_DIR and not any(map(can_be_written, others)):
        config.CACHE_DIR = str(own_temporary_folder("numba"))
