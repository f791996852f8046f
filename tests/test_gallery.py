"""The gallery: every function that draws has an example that runs, and the page shows it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import figures

DOCS = Path(__file__).parents[1] / "docs"
#: What is exported and draws nothing.
OTHERS = {"Average", "Curve", "StyledFigure", "distinct_region_colors", "file_stem", "save", "session_colors", "style"}


@pytest.fixture(scope="module")
def gallery():
    """The script that makes the page."""
    spec = importlib.util.spec_from_file_location("draw_gallery", DOCS / "draw_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_function_that_draws_has_an_example_that_calls_it(gallery):
    assert set(gallery.names()) == set(figures.__all__) - OTHERS
    assert {path.stem for path in (DOCS / "examples").iterdir() if path.is_file()} == set(gallery.names())
    for name in gallery.names():
        assert re.search(rf"^figure = {name}\(", gallery.script(name).read_text(), flags=re.MULTILINE), name


def test_page_is_up_to_date_and_shows_every_picture(gallery):
    page = (DOCS / "science" / "gallery.md").read_text()
    assert page == gallery.page(), "run: make pages"
    pictures = {path.name for path in (DOCS / "images").glob("gallery_*.png")}
    shown = set(re.findall(r"\(\.\./images/(gallery_.*?)\)", page))
    assert pictures == shown == {f"gallery_{name}.png" for name in gallery.names()}
    assert sum((DOCS / "images" / name).stat().st_size for name in pictures) < 1_500_000


@pytest.fixture(scope="module")
def drawn(gallery, tmp_path_factory) -> dict[str, Path]:
    """The pictures of the page, drawn again."""
    return {path.name: path for path in gallery.draw(tmp_path_factory.mktemp("gallery"))}


def test_examples_run_and_say_where_they_come_from(drawn):
    for name, path in drawn.items():
        with Image.open(path) as image:
            assert Path(name).stem.removeprefix("gallery_") in image.info["Description"]
            assert min(image.size) > 60


def pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """An image in grey, so small that the edges of letters do not count."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), dtype=float)


@pytest.mark.parametrize("name", ["cell_map", "ndc_overlay", "presence_map", "raster"])
def test_pictures_of_the_page_are_what_is_drawn_now(drawn, name):
    file = f"gallery_{name}.png"
    with Image.open(DOCS / "images" / file) as image:
        size = image.width // 8, image.height // 8
    kept, now = pixels(DOCS / "images" / file, size), pixels(drawn[file], size)
    assert np.sqrt(np.mean((kept - now) ** 2)) < 4  # of 255
    assert np.sqrt(np.mean((kept - now[::-1]) ** 2)) > 12  # the same picture upside down


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_need_nothing_but_arrays(path):
    """They can be pasted anywhere: no file, no database, no module of their own."""
    roots = {
        line.split()[1].split(".")[0] for line in path.read_text().splitlines() if line.startswith(("import", "from"))
    }
    assert roots == {"numpy", "pipeline"}
