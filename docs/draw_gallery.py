"""Write docs/science/gallery.md and its pictures by running every script in docs/examples."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

from pipeline import figures

DOCS = Path(__file__).parent

HEADER = """# Gallery

Written by `make pages`; do not edit. One picture for each function of `pipeline.figures` that draws, of made-up data,
and the script in `docs/examples/` that made it. What the figures show is told in [figures](figures.md), and how to
read a curve in [curves](curves.md).
"""


def names() -> list[str]:
    """Return the functions that draw."""
    functions = {name: getattr(figures, name) for name in figures.__all__ if inspect.isfunction(getattr(figures, name))}
    return [name for name, f in functions.items() if inspect.signature(f).return_annotation == "StyledFigure"]


def script(name: str) -> Path:
    """Return the example of a function; it leaves a `figure`."""
    return DOCS / "examples" / f"{name}.py"


def page() -> str:
    """Return the page, with what each script says of itself and its code."""
    parts = [HEADER]
    for name in names():
        _, told, code = script(name).read_text().split('"""', 2)
        picture = f"![{told}](../images/gallery_{name}.png)"
        parts.append(f"## {name}\n{told}\n\n{picture}\n\n```python\n{code.strip()}\n```\n")
    return "\n".join(parts)


def draw(folder: Path, *, dpi: int = 100) -> list[Path]:
    """Draw all pictures into a folder; the same bytes each time."""
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
