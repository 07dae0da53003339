"""The pictures in the README: the report of the embedded sweep, and a plan, as a browser shows them, light and dark.

Usage: `make screenshot`, or `python -m tools.pictures.screenshot [FOLDER OF A SWEEP [FOLDER FOR THE PICTURES]]`; for
the plan `python -m tools.pictures.screenshot --plan`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, MARGIN = 1100, 1600, 20  # down to the end of the first chart and the table of its levels
MOST_BYTES = 400_000
PLAN = ("plan", "--model", "llama-3.1-8b", "--devices", "L4,L40S,H100,H200", "--max-model-len", "8192")


def report(sweep: Path, page: Path) -> int:
    """Write the page of a sweep, from the root, so that it names the sweep as a person there would."""
    named = sweep.relative_to(ROOT) if sweep.is_relative_to(ROOT) else sweep
    return write_page(page, "report", str(named))


def write_page(page: Path, *words: str) -> int:
    command = [sys.executable, "-m", "engine_probe", *words, "--html", str(page)]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL).returncode


def photograph(page: Path, chromium: str, pictures: Path, name: str = "report") -> list[Path]:
    pictures.mkdir(parents=True, exist_ok=True)
    made = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            sheet = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            sheet.goto(page.as_uri())
            sheet.wait_for_selector("html[data-drawn]", state="attached")
            made.append(pictures / f"{name}-{scheme}.png")
            levels = sheet.locator("figure + .wide").first.bounding_box()
            bottom = min(levels["y"] + levels["height"] + MARGIN, HEIGHT)
            sheet.screenshot(path=made[-1], clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom})
        browser.close()
    return made


def photograph_section(folder: Path, picture: Path, title: str, scheme: Literal["light", "dark"] = "light") -> None:
    """Write a picture of a section of the report on a run or sweep, without the parts that are folded."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        page = Path(place, "page.html")
        report(folder, page)
        browser = driver.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        sheet = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme=scheme)
        sheet.goto(page.as_uri())
        heading = sheet.locator("h2", has_text=title)
        heading.scroll_into_view_if_needed()  # charts are drawn when they come into view
        sheet.wait_for_timeout(1_000)
        tops = [each.bounding_box() for each in sheet.locator("h2").all()]
        top, bottom = (tops[tops.index(heading.bounding_box()) + after]["y"] for after in (0, 1))
        scrolled = sheet.evaluate("window.scrollY")
        clip = {"x": 0, "y": top + scrolled - MARGIN, "width": WIDTH, "height": bottom - top}
        sheet.screenshot(path=picture, clip=clip, full_page=True)
        browser.close()


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def chromium_or_sentence() -> str | None:
    browser = chromium()
    if browser is None:
        sys.stderr.write("screenshot: no Chromium on this machine: install one (apt-get install chromium)\n")
    return browser


def main() -> int:
    if sys.argv[1:] == ["--plan"]:
        return plan()
    given = [Path(word).resolve() for word in sys.argv[1:3]]
    sweep, pictures = [*given, *(ROOT / "runs" / "knee", ROOT / "docs" / "pictures")[len(given) :]]
    if (browser := chromium_or_sentence()) is None:
        return 3
    if not (sweep / "sweep.json").is_file():
        sys.stderr.write(f"screenshot: {sweep} holds no sweep: `make recordings` makes one\n")
        return 2
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "report.html"
        if code := report(sweep, page):
            sys.stderr.write(f"screenshot: not every point of {sweep} was measured: make recordings anew\n")
            return code
        made = photograph(page, browser, pictures)
    return told(made)


def plan() -> int:
    if (browser := chromium_or_sentence()) is None:
        return 3
    with tempfile.TemporaryDirectory() as place:
        page = Path(place) / "plan.html"
        return write_page(page, *PLAN) or told(photograph(page, browser, ROOT / "docs" / "pictures", "plan"))


def told(made: list[Path]) -> int:
    """Print the sizes; return 1 if a picture is too large for a README."""
    for picture in made:
        print(f"{picture}: {picture.stat().st_size:,} bytes")
    return int(any(picture.stat().st_size > MOST_BYTES for picture in made))


if __name__ == "__main__":
    sys.exit(main())
