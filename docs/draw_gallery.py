"""Generate docs/science/gallery.md and its pictures by running every script in docs/examples."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

from pipeline import figures

DOCS = Path(__file__).parent

HEADER = """# Gallery

Written by `make pages`; do not edit. For each function of `pipeline.figures` that draws: a picture of simulated data,
and the script in `docs/examples/` that made it. [Figures](figures.md) explains what they show, [curves](curves.md) how
to read a curve.
"""


def names() -> list[str]:
    """Return the names of the functions that draw, which are those that return a StyledFigure."""
    functions = {name: getattr(figures, name) for name in figures.__all__ if inspect.isfunction(getattr(figures, name))}
    return [name for name, f in functions.items() if inspect.signature(f).return_annotation == "StyledFigure"]


def script(name: str) -> Path:
    """Return the path of a function's example, a script that sets `figure`."""
    return DOCS / "examples" / f"{name}.py"


def page() -> str:
    """Return the page: for each function the docstring of its script, its picture and its code."""
    parts = [HEADER]
    for name in names():
        _, caption, code = script(name).read_text().split('"""', 2)
        picture = f"![{caption}](../images/gallery_{name}.png)"
        parts.append(f"## {name}\n{caption}\n\n{picture}\n\n```python\n{code.strip()}\n```\n")
    return "\n".join(parts)


def draw(folder: Path, *, dpi: int = 100) -> list[Path]:
    """Draw all pictures into a folder and return their paths; each run gives the same bytes."""
    return [
        figures.save(
            runpy.run_path(str(script(name)))["figure"],
            folder / f"gallery_{name}.png", {"made by": f"docs/examples/{name}.py"}, dpi=dpi,
        )
        for name in names()
    ]  # fmt: skip


if __name__ == "__main__":
    (DOCS / "science" / "gallery.md").write_text(page())
    draw(DOCS / "images")
