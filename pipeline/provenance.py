"""What a figure was made from, as text in its file; and whether a file is the figure that would be drawn now."""

from __future__ import annotations

import datetime
import hashlib
import json
import uuid
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from pipeline.errors import ArgumentTypeError

#: Modules and packages of this project whose code determines a figure.
DRAWING = ("pipeline", "schemas", "drawing", "meso.py")


def provenance_text(provenance: Any) -> str:
    """Return a mapping, or any plain content, as JSON with sorted keys.

    Raises
    ------
    ArgumentTypeError
        It holds an object that cannot be written as JSON.

    Examples
    --------
    >>> provenance_text({"eids": np.array(["b", "a"]), "date": datetime.date(2025, 3, 3)})
    '{"date": "2025-03-03", "eids": ["b", "a"]}'
    """
    return json.dumps(provenance, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """Convert objects that json does not support to ones that it does; refuse those without a stable text."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (datetime.date, datetime.time, uuid.UUID, PurePath)):
        return str(value)
    raise ArgumentTypeError(f"provenance cannot hold a {type(value).__name__}: {value!r}")


def made_of(*content: Any) -> dict[str, str]:
    """Return what identifies a figure, for its provenance: a hash of its content, of the code, and of matplotlib.

    Parameters
    ----------
    *content
        All that the figure shows, or keys and hashes that determine it; anything that ``provenance_text`` takes.
    """
    text = provenance_text([content, _code_key(), version("matplotlib")])
    return {"made_of": hashlib.sha256(text.encode()).hexdigest()[:32]}


@lru_cache(maxsize=1)
def _code_key() -> str:
    """Return a hash of the modules that draw, as they are now: a commit says nothing of changes since."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for name in DRAWING:
        for path in [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def is_drawn(path: Path, provenance: Mapping[str, Any]) -> bool:
    """Return whether a PNG file has exactly this provenance, so that drawing it again would change nothing.

    Parameters
    ----------
    path : Path
    provenance : mapping
        With ``made_of``.
    """
    if "made_of" not in provenance or path.suffix != ".png" or not path.exists():
        return False
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # a file that was cut off is drawn again
            return bool(image.info.get("Description") == provenance_text(dict(provenance)))
    except (OSError, SyntaxError):  # not a PNG
        return False
