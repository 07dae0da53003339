"""GPU health of a run and a sweep: sentences, and a chart of reduced clocks; nothing where nothing was recorded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from engine_probe.commands.report import command
from tests.support.recordings.hardware_facts import POWER_CAP, gpu_samples
from tests.support.recordings.run_folders import MS, facts, ran, write_run
from tests.support.recordings.small_tables import table
from tests.support.values import has_values


def folder(path: Path, *samples: dict[str, Any]) -> Path:
    in_time = sorted(samples, key=lambda row: int(row["time_ns"]))  # as a sampler asks
    return write_run(path, ran(2) | {"telemetry": table("telemetry", in_time)}, facts())


def said(place: Path, page: Path) -> str:
    done = CliRunner().invoke(command, [str(place), "--verbose", "--html", str(page)])
    assert done.exit_code == 0, done.output
    return re.sub(r"\s+", " ", done.output)


def test_each_gpu_has_a_row_in_the_strip(tmp_path: Path) -> None:
    held_back = gpu_samples(0, throttle_reasons=[0, POWER_CAP, POWER_CAP, 0], temperature_c=[60, 70, 81, 70])
    well = gpu_samples(1, throttle_reasons=[0, 0], performance_state=[0, 0], ecc_errors=[2, 3])
    said(folder(tmp_path / "run", *held_back, *well), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    (charts,) = re.findall(r'"charts" type="application/json">(.*?)</script>', page, re.DOTALL)
    (strip,) = (chart for chart in json.loads(charts) if chart["title"] == "GPU clock throttling, by reason")
    assert (strip["rows"], strip["kinds"], strip["spans"]) == (
        ["GPU 0", "GPU 1"],
        ["SW power cap"],
        [[0, 0, 0.001, 0.003]],
    )


def test_a_sweep_has_one_sentence_for_a_gpu_over_all_points(tmp_path: Path) -> None:
    points = []
    for level, reasons in ((1, [0, 0]), (2, [POWER_CAP, POWER_CAP])):
        folder(tmp_path / "points" / f"p{level}", *gpu_samples(0, throttle_reasons=reasons))
        points.append({"id": f"p{level}", "point": {"concurrency": level}, "status": "complete"})
    (tmp_path / "sweep.json").write_text(json.dumps({"sweep": {"question": "Well?"}, "points": points}))
    assert has_values(said(tmp_path, tmp_path / "page.html"), "0", "50%", "4", "50%")


def test_without_gpus_there_is_no_section(tmp_path: Path) -> None:
    text = said(folder(tmp_path / "run", {"time_ns": MS, "cpu_percent": 99.0}), tmp_path / "page.html")
    assert "GPU health" not in text
    assert "GPU clock throttling" not in (tmp_path / "page.html").read_text()


def test_what_a_gpu_counted_itself_stands_beside_what_follows_from_the_model(tmp_path: Path) -> None:
    """60 and 80 % are 70 % on average; the first second has none, and GPU 1 none at all."""
    counted = gpu_samples(
        0,
        sm_activity_percent=[None, 60.0, 80.0],
        tensor_activity_percent=[None, 30.0, 34.0],
        dram_bandwidth_percent=[None, 55.0, 55.0],
    )
    text = said(folder(tmp_path / "run", *counted, *gpu_samples(1, temperature_c=[60])), tmp_path / "page.html")
    (sentence,) = re.findall(r"(GPU \d) by its own counters.*?: ([^.]*)\.", text)
    assert has_values(" ".join(sentence), "0", "70%", "32%", "55%")
    page = (tmp_path / "page.html").read_text()
    (charts,) = re.findall(r'"charts" type="application/json">(.*?)</script>', page, re.DOTALL)
    (activity,) = (chart for chart in json.loads(charts) if chart["title"] == "GPU activity")
    assert len(activity["series"]) == 3
