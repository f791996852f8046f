"""The gallery shows every function that draws, with an example that runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import figures

DOCS = Path(__file__).parents[1] / "docs"
#: Exported names that are not drawing functions.
OTHERS = {
    "Average",
    "ChoiceModelPanels",
    "Curve",
    "StyledFigure",
    "distinct_region_colors",
    "file_stem",
    "save",
    "session_colors",
    "style",
}


@pytest.fixture(scope="module")
def gallery():
    """Return the script that generates the page, as a module."""
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
    assert sum((DOCS / "images" / name).stat().st_size for name in pictures) < 1_700_000


@pytest.fixture(scope="module")
def drawn(gallery, tmp_path_factory) -> dict[str, Path]:
    """Draw the pictures of the page again; return their paths by file name."""
    return {path.name: path for path in gallery.draw(tmp_path_factory.mktemp("gallery"))}


def test_examples_run_and_pictures_name_their_script(drawn):
    for name, path in drawn.items():
        with Image.open(path) as image:
            assert Path(name).stem.removeprefix("gallery_") in image.info["Description"]
            assert min(image.size) > 60


def pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return an image in grey (height, width), so small that antialiased edges of letters do not matter."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), dtype=float)


@pytest.mark.parametrize("name", ["cell_map", "ndc_overlay", "presence_map", "raster"])
def test_stored_pictures_equal_newly_drawn_ones(drawn, name):
    file = f"gallery_{name}.png"
    with Image.open(DOCS / "images" / file) as image:
        size = image.width // 8, image.height // 8
    kept, now = pixels(DOCS / "images" / file, size), pixels(drawn[file], size)
    assert np.sqrt(np.mean((kept - now) ** 2)) < 4  # of 255
    assert np.sqrt(np.mean((kept - now[::-1]) ** 2)) > 12  # the same picture upside down


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_import_only_numpy_and_pipeline(path):
    """So they can be pasted anywhere: they need no file, no database and no other module."""
    roots = {
        line.split()[1].split(".")[0] for line in path.read_text().splitlines() if line.startswith(("import", "from"))
    }
    assert roots == {"numpy", "pipeline"}
