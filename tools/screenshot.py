"""The picture in the README: the report of the embedded sweep, as a browser shows it, in light and in dark.

Usage: `make screenshot`, or with the folder of a sweep: `python tools/screenshot.py runs/knee`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT, MARGIN = 1100, 1600, 20  # down to the end of the first chart
MOST_BYTES = 400_000


def report(sweep: Path, page: Path) -> None:
    """From the root, so that the page names the sweep as a person there would."""
    here = sweep.resolve()
    named = here.relative_to(ROOT) if here.is_relative_to(ROOT) else here
    words = [sys.executable, "-m", "engine_probe", "report", str(named), "--html", str(page)]
    subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def photograph(page: Path, chromium: str) -> list[Path]:
    made = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            sheet = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            sheet.goto(page.as_uri())
            sheet.wait_for_function("document.documentElement.dataset.drawn > 0")
            made.append(PICTURES / f"report-{scheme}.png")
            first = sheet.locator("figure").first.bounding_box()
            bottom = min(first["y"] + first["height"] + MARGIN, HEIGHT)
            sheet.screenshot(path=made[-1], clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom})
        browser.close()
    return made


def main() -> int:
    sweep = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "knee"
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.stderr.write("screenshot: no Chromium on this machine: install one (apt-get install chromium)\n")
        return 3
    if not (sweep / "sweep.json").is_file():
        sys.stderr.write(f"screenshot: {sweep} holds no sweep: `make recordings` makes one\n")
        return 2
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        report(sweep, page)
        made = photograph(page, chromium)
    for picture in made:
        print(f"{picture.relative_to(ROOT)}: {picture.stat().st_size:,} bytes")
    return int(any(picture.stat().st_size > MOST_BYTES for picture in made))


if __name__ == "__main__":
    sys.exit(main())
