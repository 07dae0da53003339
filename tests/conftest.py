"""What all tests share: a browser, and GPU tests that are skipped where there is none, the skips counted aloud."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before torch is loaded: on cores that others use too, OpenMP's spinning makes a step of a tiny engine take a second.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Before numpy is loaded: on such cores a small matrix on several threads of OpenBLAS takes 60 times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Readline, which pytest loads, exports the size of a terminal to pytest's workers: tables are as wide as without one.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

# A shell starts what it runs in the background with Ctrl-C ignored, for all that this starts in turn.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how fast the machine is.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

FEW = 5  # tests that are named
MUCH_CPU_S = 0.25  # of a test, above which it is to be marked `lengthy`
CPU_S, IMPORTED = "cpu_s", "imported"  # properties of a test
MARKED = ("lengthy", "slow", "vllm", "gpu", "readme")
NO_GPU = "no NVIDIA GPU on this machine"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def gpu_count() -> int:
    """By NVML, so that looking for a GPU does not import torch."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


@pytest.fixture(scope="session")
def chromium() -> str:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    return CHROMIUM


@pytest.fixture(scope="session")
def driver(chromium: str) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright to drive a browser with")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(driver: Any, chromium: str) -> Iterator[Any]:
    opened = driver.chromium.launch(
        executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--process-per-site"]
    )
    yield opened
    opened.close()


class Window:
    """Opens pages in one process, where the browser alone would start a new one for each, for a second of CPU."""

    def __init__(self, browser: Any, blank: Path) -> None:
        self._context = browser.new_context()
        blank.write_text("")
        self._context.new_page().goto(blank.as_uri())  # the process stays as long as a file is open

    def new_page(self, width: int, height: int = 800, scheme: str = "light") -> Any:
        page = self._context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        return page


@pytest.fixture(scope="session")
def window(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Window:
    return Window(browser, tmp_path_factory.mktemp("window") / "blank.html")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without garbage collections: thousands of tests are made and none is dropped, which took a quarter.

    Nor does a later collection look through them and all that was imported.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lengthy)
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and gpu_count() == 0:
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=NO_GPU))


@pytest.hookimpl(optionalhook=True)  # there may be no xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide the everyday tests so that each process imports only what others do not; others by their files."""
    if config.getoption("dist") != "loadfile" or "not slow" not in config.getoption("markexpr"):
        return None
    from tests.support.processes.distribution import SharedImports

    return SharedImports(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Note how long a test that `make test-fast` runs had a processor, with its child processes, and if it imported."""
    before, loaded = sum(os.times()[:4]), len(sys.modules)
    try:
        return (yield)
    finally:
        if not any(map(item.get_closest_marker, MARKED)):
            spent = sum(os.times()[:4]) - before
            item.user_properties += [(CPU_S, spent), (IMPORTED, len(sys.modules) > loaded)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if NO_GPU in str(report.longrepr)]
    terminalreporter.write_line(f"{len(skipped)} GPU tests skipped{': ' + NO_GPU if skipped else ''}")
    ended = {report.nodeid: dict(report.user_properties) for report in terminalreporter.stats.get("passed", [])}
    spent = {name: told for name, told in ended.items() if CPU_S in told}
    if spent:
        terminalreporter.write_line(
            f"{len(spent)} tests without a mark took {sum(told[CPU_S] for told in spent.values()):.1f} s of CPU"
        )
    much = {name: told[CPU_S] for name, told in spent.items() if told[CPU_S] > MUCH_CPU_S and not told[IMPORTED]}
    for name in sorted(much, key=much.__getitem__, reverse=True)[:FEW]:
        terminalreporter.write_line(f"{much[name]:.2f} s of CPU; on a quiet machine that is lengthy: {name}")
    if len(much) > FEW:
        terminalreporter.write_line(f"and {len(much) - FEW} more that took over {MUCH_CPU_S} s of CPU")
