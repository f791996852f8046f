"""What the tests of the page share: curves of the demo, one browser, tabs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.pages import Tab, browser, served

from pipeline.decoding import NDCSettings

SMALL = {"ks": (4, 16), "r": 3, "n_label_shuffles": 19, "n_bootstrap": 20}


@pytest.fixture(scope="package")
def curves(demo_sessions):
    """Tiles, tracked cells and curves of the demo."""
    from schemas.decoding.run import run_ndc
    from schemas.embedding import Embedding, RasterTiles
    from schemas.tracking import TrackingRun
    from schemas.work.filling import fill

    # other tests may have had them recomputed
    assert not fill([Embedding, RasterTiles], [{"eid": eid} for eid in demo_sessions]).errors
    run = TrackingRun.register("SP999")
    return run_ndc(demo_sessions, run, [NDCSettings(target=target, **SMALL) for target in ("choice", "feedback")])


@pytest.fixture(scope="package")
def chromium() -> Iterator:
    with browser() as found:
        yield found


@pytest.fixture(scope="package")
def address(curves, server) -> Iterator[str]:
    """Return the address of a server of the page."""
    with served(server) as found:
        yield found


@pytest.fixture
def tab(chromium, address) -> Iterator[Callable[..., Tab]]:
    """Open tabs; at the end no tab may have logged an error."""
    tabs: list[Tab] = []

    def new(**options) -> Tab:
        tabs.append(Tab(chromium, address, **options))
        return tabs[-1]

    yield new
    for one in tabs:
        one.close()
        assert one.problems == []
