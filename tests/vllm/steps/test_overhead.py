"""`engine_probe overhead` measures on the real scheduler; the figures themselves are nobody's to assert."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine_probe.commands.overhead import command
from engine_probe.errors import InputError
from engine_probe.overhead.paired import PairedEstimate
from engine_probe.record.probe_calibration import Calibration, Uncounted, read
from kernels_bench.devices.cpu import cpu
from tests.support.engines.forked_engine import output_of, run_program, start

COMMAND = """
import sys
from engine_probe.cli import main
sys.argv = ["engine_probe", *words]
main()
"""


def test_the_command_writes_every_figure_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "overhead.json"
    words = ["overhead", "--running", "1", "--pairs", "100", "--json", str(file)]
    process = start(tmp_path / "printed", run_program, COMMAND, {"words": words}, COLUMNS="200")
    printed = output_of(process, tmp_path / "printed")
    written = json.loads(file.read_text())
    (row,) = written["core"]
    assert (row["running"], row["pairs"]) == (1, 100)
    assert min(row["step_ns"], row["schedule_ns"], row["probe_counted_ns"], row["disk_bytes"]) > 0
    assert 0 < row["hot_path_ns"]["low"] <= row["hot_path_ns"]["median"] <= row["hot_path_ns"]["high"]
    assert 0 < written["worker_ns"]["low"] <= written["worker_ns"]["median"] <= written["worker_ns"]["high"]
    assert 0 < written["passing_ns"]["median"] < written["worker_ns"]["median"]
    assert 0 < row["of_schedule"]["low"] <= row["of_schedule"]["median"] <= row["of_schedule"]["high"]
    judged = {each["what"]: (each["limit"], each["verdict"]) for each in written["budgets"]}
    assert judged.keys() == {
        *("core, 1 running: hot path", "core, 1 running: whole step", "worker, phases on"),
        *("with details / hot path, 1 running", "with details / whole step, 1 running"),
    }
    assert judged["worker, phases on"][0] == 15_000
    uncounted = PairedEstimate(**row["uncounted_ns"])
    collective = PairedEstimate(**written["collective_ns"])
    assert 0 < collective.low <= collective.median <= collective.high
    stored = Calibration((Uncounted(1, uncounted.median, uncounted.half_width),), collective.median)
    assert read(cpu().identity) == stored
    for what, (_, verdict) in judged.items():
        assert what in printed
        assert verdict in printed
    with pytest.raises(InputError, match="never overwritten"):
        CliRunner().invoke(command, ["--json", str(file)], catch_exceptions=False)
