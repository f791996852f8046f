"""``meso serve`` in a separate process, and a real browser for its pages."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support import quick_start

#: Options of Chromium for running as root and without network; otherwise it waits for its vendor's servers.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
    "--process-per-site",  # see Windows
]  # fmt: skip

#: Size of a tab, px.
WINDOW = {"width": 1280, "height": 900}
#: A page of which little is to be drawn.
EMPTY = "/static/icon.svg"


@contextmanager
def served(env: Mapping[str, str | None], *options: str, log: list[str] | None = None) -> Iterator[str]:
    """Serve the pages of the database that the variables name, and yield their address.

    At the end the server's output is appended to ``log``; without one, the output must contain no error.
    """
    variables = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    arguments, reads, writes = ["-m", "populate_scripts.cli", "serve", "--port", "0", *options], *os.pipe()
    with tempfile.TemporaryFile("w+") as errors, open(reads) as printed:
        with open(writes, "w") as out:
            process = quick_start.Process(
                arguments, env=variables, cwd=Path(__file__).parents[2], stdout=out, stderr=errors
            )
        try:
            line = printed.readline()
            assert line.startswith("http://"), line + quick_start.whole(errors)
            yield line.split()[0]
        finally:
            process.terminate()
            process.wait(20)
            said = quick_start.whole(errors)
            if log is None:
                assert "Traceback" not in said, said
            else:
                log += said.splitlines()


def browser_path() -> str | None:
    """Return the path of the browser in MESO_TEST_BROWSER, or of the system's: first of one without windows."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("MESO_TEST_BROWSER") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """Yield a browser; if there is none, fail in CI and skip with a message elsewhere."""
    path = browser_path()
    if path is None:
        problem = (
            "NO BROWSER, ITS TESTS ARE SKIPPED. Get one with: make browser (Debian), or name it: MESO_TEST_BROWSER"
        )
        if os.environ.get("CI"):
            raise RuntimeError(problem)
        pytest.skip(problem)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield Windows(chromium)
        chromium.close()


class Windows:
    """A browser whose tabs are in one window, and share its process, its cache and compiled scripts.

    A process of its own costs a tab a second of the processor. An empty tab keeps the process of a window.
    """

    def __init__(self, chromium: Any) -> None:
        self.chromium, self.kept = chromium, {}

    def new_tab(
        self, address: str, viewport: Mapping[str, int] = WINDOW, color_scheme: str = "light", **options: Any
    ) -> Any:
        """Return a new tab for the server at this address; other options, as of a phone, are of another window."""
        name = repr((address, sorted(options.items())))
        if name not in self.kept:
            self.kept[name] = self.chromium.new_context(**options)
            self.kept[name].new_page().goto(address + EMPTY)
        page = self.kept[name].new_page()
        page.set_viewport_size(viewport)
        page.emulate_media(color_scheme=color_scheme)
        return page


class Tab:
    """A page in a browser that records every error in it.

    Parameters
    ----------
    browser : Windows
    address : str
        Of the server.
    **options
        See ``Windows.new_tab``.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address, self.problems = address, []
        self.page = browser.new_tab(address, **options)
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda said: self.problems.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"asked for {request.url}")

    def open(self, path: str) -> Any:
        """Open a page of the server, and wait until nothing more is fetched."""
        self.page.goto(self.address + path, wait_until="networkidle")
        return self.page

    def violations(self) -> list[str]:
        """Return the accessibility violations that axe-core finds on the open page, by all its rules."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {one['help']} {[node['html'][:120] for node in one['nodes'][:3]]}" for one in found]

    def close(self) -> None:
        self.page.close()


def ready(tab: Tab, eid: str, query: str = "") -> Any:
    """Open a session's page, and return it once raster, map and mean are drawn."""
    page = tab.open(f"/sessions/{eid}{query}")
    page.wait_for_selector("#viewer[data-ready]")
    page.wait_for_load_state("networkidle")
    return page


def inked(page: Any, canvas: str) -> float:
    """Return the share of a canvas that differs from its most common colour."""
    found: float = page.evaluate(
        """(id) => { const c = document.getElementById(id), n = new Map();
        const copy = new OffscreenCanvas(c.width, c.height).getContext("2d");
        copy.drawImage(c, 0, 0);
        const p = new Uint32Array(copy.getImageData(0, 0, c.width, c.height).data.buffer);
        for (const v of p) n.set(v, (n.get(v) ?? 0) + 1);
        return 1 - Math.max(...n.values()) / p.length; }""",
        canvas,
    )
    return found


def words_on(page: Any, canvas: str, act: str) -> list[tuple[str, float, float]]:
    """Return the words that an act in JavaScript draws on a canvas, with their places as fractions of it."""
    found: list[tuple[str, float, float]] = page.evaluate(
        f"""(() => {{ const said = [], real = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {{
          if (this.canvas.id === "{canvas}") said.push([text, x / this.canvas.width, y / this.canvas.height]);
          real.call(this, text, x, y);
        }};
        {act};
        CanvasRenderingContext2D.prototype.fillText = real;
        return said; }})()"""
    )
    return found
