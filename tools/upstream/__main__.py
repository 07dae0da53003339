"""Run vLLM's own scheduler tests twice, without the probe and with it, and compare: `make test-upstream`.

    python -m tools.upstream --write docs/results/vllm/upstream.md
    python -m tools.upstream tests/v1/core/test_scheduler.py

Ends with 1 where a test ends otherwise with the probe than without it, where the probe failed, or where its audit found
a wrong counter in a test that is not listed in `SET_BY_HAND`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from engine_probe.hook.vllm_versions import installed_vllm
from tools.result_page import ROOT, head_commit, table
from tools.upstream.source_package import upstream_tests

TESTS = ("tests/v1/core",)
SECONDS = 3_600
# A test that writes into a scheduler's state leaves counters behind that no engine would: why its audit may complain.
MASKS = "tests/v1/core/test_scheduler.py::test_update_from_output_routes_"
BESIDE_THE_QUEUES = "The test puts running requests into the scheduler by hand."
SET_BY_HAND = {
    f"{MASKS}sampling_masks_by_request": BESIDE_THE_QUEUES,
    f"{MASKS}multi_position_sampling_masks": BESIDE_THE_QUEUES,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools.upstream", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("tests", nargs="*", default=TESTS, help="files or folders of vLLM's tests (tests/v1/core)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the result as Markdown")
    arguments = parser.parse_args()
    _, version = installed_vllm() or ("", "")
    if not version:
        print("no vLLM is installed here: run it in the environment of `make test`", file=sys.stderr)
        return 3
    folder = upstream_tests(version.partition("+")[0])
    if missing := [test for test in arguments.tests if not (folder / test.partition("::")[0]).exists()]:
        print(f"{missing[0]} is not among vLLM's tests in {folder}", file=sys.stderr)
        return 2
    without, _, seconds = run(folder, arguments.tests, probe=False)
    with_probe, recordings, seconds_with = run(folder, arguments.tests, probe=True)
    text = document(version, without, with_probe, recordings, (seconds, seconds_with))
    print(text)
    if arguments.write:
        arguments.write.write_text(text)
    return int(bool(changed(without, with_probe) or failures(recordings) or unexplained(recordings)))


def run(folder: Path, tests: list[str], *, probe: bool) -> tuple[dict[str, str], list[dict[str, Any]], float]:
    """Run the tests; return how each ended, what each recording told, and the seconds it took."""
    with TemporaryDirectory() as temporary:
        report, told = Path(temporary) / "report.xml", Path(temporary) / "recordings.jsonl"
        told.touch()
        command = [sys.executable, "-m", "pytest", *tests, "--quiet", "--tb=no", "-p", "no:cacheprovider"]
        command += [f"--junitxml={report}", *(["-p", "tools.upstream.probe_on_schedulers"] if probe else [])]
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "ENGINE_PROBE_UPSTREAM": str(told),
        }
        began = time.monotonic()
        subprocess.run(command, cwd=folder, env=environment, timeout=SECONDS)
        cases = ElementTree.parse(report).iter("testcase")
        ends = {f"{case.get('classname')}::{case.get('name')}": ending(case) for case in cases}
        return ends, [json.loads(line) for line in told.read_text().splitlines()], time.monotonic() - began


def ending(case: ElementTree.Element) -> str:
    """Return how a test ended."""
    for tag, word in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return word
    return "passed"


def changed(without: dict[str, str], with_probe: dict[str, str]) -> list[str]:
    """Return a line for each test that ended otherwise with the probe."""
    names = dict.fromkeys((*without, *with_probe))
    return [
        f"{name}: {without.get(name, 'not run')} without the probe, {with_probe.get(name, 'not run')} with it"
        for name in names
        if without.get(name) != with_probe.get(name)
    ]


def failures(recordings: list[dict[str, Any]]) -> list[str]:
    """Return a line for each recording that the probe ended early."""
    return [f"{one['test']}: {error.strip().splitlines()[-1]}" for one in recordings for error in one["errors"]]


def complaints(recordings: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what audits found, by test."""
    found: dict[str, list[str]] = {}
    for one in recordings:
        if one["audit"]:
            found.setdefault(one["test"], []).extend(one["audit"])
    return found


def unexplained(recordings: list[dict[str, Any]]) -> list[str]:
    """Return the tests whose audits complain though no state was set by hand."""
    return [test for test in complaints(recordings) if test not in SET_BY_HAND]


def document(
    version: str,
    without: dict[str, str],
    with_probe: dict[str, str],
    recordings: list[dict[str, Any]],
    seconds: tuple[float, float],
) -> str:
    """Return the result as Markdown."""
    runs = {"without the probe": without, "with the probe": with_probe}
    rows = []
    for (name, ends), took in zip(runs.items(), seconds, strict=True):
        counts = Counter(ends.values())
        rows.append((name, *(counts[word] for word in ("passed", "failed", "error", "skipped")), f"{took:.0f} s"))
    found, differ, failed = complaints(recordings), changed(without, with_probe), failures(recordings)
    steps = sum(one["rows"] for one in recordings)
    return "\n".join(
        [
            "# vLLM's own scheduler tests, with the probe on every scheduler they build",
            "",
            f"`make test-upstream` on {datetime.now(UTC):%Y-%m-%d}, commit {head_commit()}, vLLM {version}: the tests",
            "of vLLM's source package, run twice. Those that fail without the probe too want a model from the hub, a",
            "GPU, or fixtures for these.",
            "",
            *table(("", "passed", "failed", "errors", "skipped", "took"), rows),
            "",
            f"**Tests that end otherwise with the probe: {len(differ)}.**",
            *(f"- {line}" for line in differ),
            "",
            f"The probe recorded {steps:,} steps of {len(recordings):,} schedulers. It failed in {len(failed)}.",
            *(f"- {line}" for line in failed),
            "",
            "When a recording ends its counters are compared with the scheduler's state. They differ in "
            f"{len(found)} tests.",
            *(
                f"- {test}: {'; '.join(dict.fromkeys(lines))}. {SET_BY_HAND.get(test, 'Not explained.')}"
                for test, lines in found.items()
            ),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
