"""Take the picture of a session's page from the database of ``make demo``: docs/images/page_session.jpg.

python docs/draw_page.py       after make demo; needs Chromium (MESO_TEST_BROWSER names another browser)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

IMAGE = Path(__file__).parent / "images" / "page_session.jpg"
#: A minute of the last day, with the cells that follow running selected.
VIEW = "?t=420:480&rows=50:160"
SIZE = {"width": 1240, "height": 800}


def main() -> None:
    """Serve the demo's database, open the last session, and take the picture."""
    browser = os.environ.get("MESO_TEST_BROWSER") or shutil.which("chromium-headless-shell") or shutil.which("chromium")
    command = [sys.executable, "-m", "populate_scripts.cli", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = process.stdout.readline().split()[0]
    try:
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
            page = chromium.new_page(viewport=SIZE)
            page.goto(f"{address}/sessions?subject=SP999")
            last = page.locator("#sessions tbody th a").last.get_attribute("href")
            page.goto(address + (last or "") + VIEW, wait_until="networkidle")
            page.wait_for_selector("#viewer[data-ready]")
            page.wait_for_timeout(1000)
            page.screenshot(path=IMAGE, type="jpeg", quality=82)  # a fifth of the size of a PNG
            chromium.close()
    finally:
        process.terminate()


if __name__ == "__main__":
    main()
