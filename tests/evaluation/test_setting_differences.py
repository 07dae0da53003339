"""Drafts and compilation among the settings that may explain a change."""

from pathlib import Path
from typing import Any

from engine_probe.evaluation.setting_differences import setting_differences
from engine_probe.recordings.run import Run, load
from tests.support.recordings.run_folders import facts, ran, write_run

GRAPHS = {
    "mode": "VLLM_COMPILE",
    "backend": "inductor",
    "graph_mode": "FULL_AND_PIECEWISE",
    "capture_sizes": [1, 2, 256],
    "max_capture_size": 256,
    "splitting_ops": None,
    "custom_ops": [],
}
EAGER = GRAPHS | {"mode": "NONE", "graph_mode": "NONE", "capture_sizes": [], "max_capture_size": None}


def run(folder: Path, drafts: dict[str, Any] | None = None, **more: Any) -> Run:
    told = facts() | more
    told["engine"] = told["engine"] | {"arguments": {"speculative_config": drafts}}
    return load(write_run(folder, ran(1), told))


def differing(old: Run, new: Run) -> dict[str, tuple[str, str]]:
    found = [each for each in setting_differences(old, new) if not each.name.startswith("process.")]
    return {each.name: (each.before, each.after) for each in found}


def test_drafts_against_none(tmp_path: Path) -> None:
    drafts = {"method": "ngram", "num_speculative_tokens": 3}
    found = differing(run(tmp_path / "without"), run(tmp_path / "with", drafts))
    assert found == {
        "speculative_config.method": ("none", "ngram"),
        "speculative_config.num_speculative_tokens": ("none", "3"),
    }


def test_graphs_against_eager_steps(tmp_path: Path) -> None:
    graphs = run(tmp_path / "graphs", compilation=GRAPHS)
    found = differing(graphs, run(tmp_path / "eager", compilation=EAGER))
    assert found == {
        "compilation.mode": ("VLLM_COMPILE", "NONE"),
        "compilation.graph_mode": ("FULL_AND_PIECEWISE", "NONE"),
        "compilation.max_capture_size": ("256", "none"),
    }
    assert (
        differing(graphs, run(tmp_path / "older")) == {}
    )  # a recording from before it was recorded differs in nothing


def in_environment(folder: Path, **environment: str) -> Run:
    told = facts()
    told["engine"] = told["engine"] | {"environment": environment}
    return load(write_run(folder, ran(1), told))


def test_names_that_vllm_draws_for_each_process_are_no_settings(tmp_path: Path) -> None:
    one, other = (
        in_environment(tmp_path / name, VLLM_DIST_IDENT=f"vllm_dist_{name}", OMP_NUM_THREADS=name)
        for name in ("1", "2")
    )
    assert differing(one, other) == {"environment.OMP_NUM_THREADS": ("1", "2")}
