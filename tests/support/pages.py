"""``meso serve`` in a process of its own, and a real browser to look at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

#: Chromium as root and without the network: it would wait for its maker's servers.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


@contextmanager
def served(env: Mapping[str, str | None], *options: str, log: list[str] | None = None) -> Iterator[str]:
    """Serve the pages of the database that variables lead to, and give their address.

    What the terminal shows goes to ``log`` at the end; without one it may show no error.
    """
    variables = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    process = subprocess.Popen(
        [sys.executable, "-m", "populate_scripts.cli", "serve", "--port", "0", *options],
        env=variables, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("http://"), line + process.stderr.read()
        yield line.split()[0]
    finally:
        process.terminate()
        _, said = process.communicate(timeout=20)
        if log is None:
            assert "Traceback" not in said, said
        else:
            log += said.splitlines()


def browser_path() -> str | None:
    """Return the browser of the system, or of MESO_TEST_BROWSER."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("MESO_TEST_BROWSER") or next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """Give a browser; without one that is a failure in CI, and a loud skip elsewhere."""
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
        yield chromium
        chromium.close()


class Tab:
    """A page of a browser that notes whatever goes wrong in it.

    Parameters
    ----------
    browser : playwright Browser
    address : str
        Of the server.
    **options
        Of playwright's ``new_page``.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address, self.problems = address, []
        self.page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda said: self.problems.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"asked for {request.url}")

    def open(self, path: str) -> Any:
        """Go to a page of the server, and wait until nothing is fetched any more."""
        self.page.goto(self.address + path, wait_until="networkidle")
        return self.page

    def violations(self) -> list[str]:
        """Return what axe-core finds on the page that is open, by all its rules."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {one['help']} {[node['html'][:120] for node in one['nodes'][:3]]}" for one in found]

    def close(self) -> None:
        self.page.close()
