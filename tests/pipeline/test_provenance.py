"""A figure is drawn again if anything that it shows, or the code that draws it, is another."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import provenance
from pipeline.figures import StyledFigure, save
from pipeline.provenance import is_drawn, made_of


@pytest.fixture
def drawn(tmp_path):
    """Return the path of a figure, and the provenance that it was saved with."""
    kept = {"eid": "a", **made_of(np.array([1.0, np.nan]))}
    return save(StyledFigure(figsize=(1, 1)), tmp_path / "figure.png", kept), kept


def test_a_figure_is_there_if_its_provenance_is_the_same(drawn, tmp_path):
    path, kept = drawn
    assert is_drawn(path, kept)
    assert not is_drawn(path, {**kept, "eid": "b"})
    assert not is_drawn(path, {**kept, **made_of(np.array([1.0, 2.0]))})
    assert not is_drawn(tmp_path / "other.png", kept)
    path.write_bytes(path.read_bytes()[:-40])
    assert not is_drawn(path, kept)
    path.write_text("no picture")
    assert not is_drawn(path, kept)


def test_without_a_hash_of_its_content_a_figure_is_always_drawn(tmp_path):
    path = save(StyledFigure(figsize=(1, 1)), tmp_path / "figure.png", {"eid": "a"})
    assert not is_drawn(path, {"eid": "a"})


def test_other_code_draws_again(drawn, monkeypatch, tmp_path):
    _, kept = drawn
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "a.py").write_text("x = 1")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "pipeline" / "provenance.py"))
    monkeypatch.setattr(provenance, "DRAWING", ("pipeline",))
    keys = []
    for text in ("x = 1", "x = 2", "x = 1"):
        (tmp_path / "pipeline" / "a.py").write_text(text)
        provenance._code_key.cache_clear()
        keys.append(made_of(1)["made_of"])
    provenance._code_key.cache_clear()
    assert keys[0] == keys[2] != keys[1]
    assert kept["made_of"] not in keys
