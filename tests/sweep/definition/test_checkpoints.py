"""Checkpoints that a sweep names: refused if they are something else, left out with a sentence if they are not here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from engine_probe.commands.sweep import command
from engine_probe.errors import InputError
from engine_probe.sweep.definition.checkpoints import absent, check_any_here, kinds
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import points
from engine_probe.sweep.execution.runner import SweepRun
from engine_probe.sweep.results.point_results import SKIPPED, Unmeasured
from tests.support.sweeps.no_engine import NoEngine

FILE = """
question = "Which is faster?"
[engine]
model = "tiny"
[workload]
input_len = 8
output_len = 4
concurrency = 1
[axes]
"engine.model" = ["tiny", "{folder}"]
[checkpoints]
"{folder}" = "{kind}"
"""
GPTQ = {"quant_method": "gptq", "bits": 4, "desc_act": True}
COMPRESSED = "compressed-tensors"
INT8 = {"quant_method": COMPRESSED, "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int"}}}}
FP8 = {"quant_method": COMPRESSED, "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a sweep that names a checkpoint, and the checkpoint's configuration unless it is not to be here."""

    def written(kind: str, quantization: dict[str, Any] | None = None, here: bool = True) -> Path:
        folder, file = tmp_path / "models" / "quantised", tmp_path / "sweep.toml"
        if here:
            folder.mkdir(parents=True)
            config = {"model_type": "llama"} | ({"quantization_config": quantization} if quantization else {})
            (folder / "config.json").write_text(json.dumps(config))
        file.write_text(FILE.format(folder=folder, kind=kind))
        return file

    return written


@pytest.mark.parametrize(
    ("quantization", "found"),
    [
        (None, {"none"}),
        ({"quant_method": "awq", "w_bit": 4}, {"awq", "int4"}),
        (GPTQ, {"gptq", "int4", "desc_act"}),
        (GPTQ | {"desc_act": False}, {"gptq", "int4"}),
        (INT8, {"compressed-tensors", "int8"}),
        (FP8, {"compressed-tensors", "fp8"}),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, {"bitsandbytes", "int8"}),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": None}}, {"compressed-tensors"}),
    ],
)
def test_a_configuration_says_what_its_weights_are(quantization: dict[str, Any] | None, found: set[str]) -> None:
    assert kinds({"quantization_config": quantization}) == found


@pytest.mark.parametrize(("kind", "quantization"), [("gptq desc_act", GPTQ), ("int8", INT8), ("none", None)])
def test_what_a_folder_is_said_to_be_it_may_be(
    write: Callable[..., Path], kind: str, quantization: dict[str, Any] | None
) -> None:
    assert absent(read_sweep(str(write(kind, quantization)))) == {}


@pytest.mark.parametrize(
    ("kind", "quantization", "sentence"),
    [
        ("awq", GPTQ, "says that the weights are desc_act gptq int4, and checkpoints."),
        ("awq", None, "says that the weights are not quantised, and checkpoints."),
        ("int8", FP8, "expects INT8 weights: give a folder that holds them"),
        ("int7", INT8, "is 'int7': known are none, int8"),
        ("", INT8, "is '': known are none, int8"),
    ],
)
def test_a_folder_that_is_something_else_is_refused(
    write: Callable[..., Path], kind: str, quantization: dict[str, Any] | None, sentence: str
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        read_sweep(str(write(kind, quantization)))


def test_a_configuration_that_is_no_object_is_refused(write: Callable[..., Path]) -> None:
    file = write("awq")
    (config,) = file.parent.rglob("config.json")
    config.write_text("[1]")
    with pytest.raises(InputError, match=r"config.json is \[1\], expected an object: give the folder of a model"):
        read_sweep(str(file))


def test_a_folder_that_no_point_uses_is_refused_unless_other_models_are_named(write: Callable[..., Path]) -> None:
    file = write("awq", here=False)
    assert absent(read_sweep(str(file), ["engine.model=tiny"])) == {}
    file.write_text(file.read_text().replace('["tiny", ', '["tiny", "smollm2"] # '))
    with pytest.raises(InputError, match="which is no model of this sweep: it measures smollm2, tiny"):
        read_sweep(str(file))


def test_a_folder_that_is_not_here_is_told_by_a_dry_run(write: Callable[..., Path], tmp_path: Path) -> None:
    outcome = CliRunner().invoke(command, [str(write("awq", here=False)), "--dry-run", "--like", str(tmp_path)])
    assert outcome.exit_code == 0
    assert "quantised is not here: give a folder with AWQ weights, or a link to one; its points are left out." in (
        " ".join(outcome.output.split())
    )


def test_where_all_points_need_what_is_not_here_nothing_starts(write: Callable[..., Path]) -> None:
    sweep = read_sweep(str(write("awq", here=False)))
    check_any_here(sweep)
    alone = msgspec.structs.replace(sweep, axes={"engine.model": [next(iter(sweep.checkpoints))]})
    with pytest.raises(InputError, match=r"nothing can be measured: .* is not here"):
        check_any_here(alone)


def test_points_of_a_folder_that_is_not_here_are_rows_and_start_no_engine(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    sweep = read_sweep(str(write("awq", here=False)))
    todo = [point for point in points(sweep) if point.engine.model in sweep.checkpoints]
    seen: list[Any] = []
    engines: Any = NoEngine()
    SweepRun(sweep, tmp_path, todo, lambda event, _: seen.append(event), engines, force=False).run()
    (row,) = (event for event in seen if isinstance(event, Unmeasured))
    assert (row.status, row.exit_code) == (SKIPPED, 0)
    assert "is not here: give a folder with AWQ weights" in row.reason
