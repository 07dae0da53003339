"""What a dry run says beforehand: from measurements alone, and nothing where there is none."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from engine_probe.commands.sweep.cli import command
from engine_probe.engine.build import model_geometry
from engine_probe.engine.cpu.core_rates import CoreRates
from engine_probe.engine.cpu.host_memory import MemoryNode
from engine_probe.engine.models.geometry import GIB
from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import find_sweep, read_sweep
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, points
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.execution.oversized_points import beyond_machine
from engine_probe.sweep.preflight import duration_estimate, host_memory_shares
from engine_probe.sweep.preflight.dry_run import show_points, size_cells, tokens_needed
from engine_probe.sweep.preflight.duration_estimate import (
    DeviceSpeed,
    Estimate,
    engine_start,
    estimate,
    fewest_steps,
    measured_speed,
    speed_here,
)
from engine_probe.sweep.preflight.earlier_sweeps import Past, points_of, same_hardware
from engine_probe.sweep.preflight.memory_fit import check_gpus, check_host
from engine_probe.sweep.preflight.target import Target
from engine_probe.text_format import long_duration
from engine_probe.workload.arrivals import ClosedLoop, Constant, OpenLoop, Replay
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.lengths import Uniform
from engine_probe.workload.prompts import Conversations
from engine_probe.workload.stop import Steady, Stop
from engine_probe.workload.traces.trace_file import Trace
from engine_probe.workload.workload_spec import Sampling

GB = 1e9
LLAMA = EngineSection("llama-3.1-8b", {"max_model_len": 4096})


def asked(concurrency: int, requests: int | None = None, engine: EngineSection = LLAMA, **more: Any) -> Point:
    return Point(engine, WorkloadSection(128, 100, concurrency, requests), **more)


def measured(point: Point, seconds: float) -> Past:
    return Past(point.key, point, seconds, point.workload.output_tokens or 0, 10_000, 20.0)


PAST = [measured(asked(10), 10.0), measured(asked(20), 12.5)]  # 100 and 160 tokens/s


def test_the_same_point_takes_as_long_as_it_did() -> None:
    again = [*PAST, measured(asked(10, repeat=1), 14.0)]
    assert estimate(asked(10), PAST, None) == Estimate(10.0, "the same point")
    assert estimate(asked(10, repeat=2), again, None) == Estimate(12.0, "the same point")


def test_a_twin_takes_neither_what_the_real_engine_took_nor_what_its_device_would() -> None:
    point = asked(4)
    twin = {"calibrated_from": "H100", "step_times": {"prices": {}}}
    predicted = msgspec.structs.replace(point, engine=msgspec.structs.replace(point.engine, twin=twin))
    past, device = [measured(point, 30.0)], DeviceSpeed(1e9)
    assert estimate(point, past, device) is not None
    assert estimate(predicted, past, device) is None


def test_a_load_between_two_takes_the_rate_between_theirs() -> None:
    found = estimate(asked(15, 150), PAST, None)
    assert found is not None
    assert found.seconds == pytest.approx(150 * 100 / 130)
    assert found.basis == "this engine at other loads"


def of_lengths(prompt: int, answer: int, **more: Any) -> Point:
    return Point(LLAMA, WorkloadSection(prompt, answer), **more)


@pytest.mark.parametrize(
    ("point", "seconds"),
    [
        (of_lengths(128, 1500), 15.0),
        (of_lengths(128, 2500), 32.5),
        (of_lengths(192, 1000), 12.0),
        (of_lengths(128, 2000, repeat=3), 20.0),
    ],
)
def test_a_length_between_two_takes_a_time_between_theirs(point: Point, seconds: float) -> None:
    past = [
        measured(of_lengths(128, 1000), 10.0),
        measured(of_lengths(128, 2000), 20.0),
        measured(of_lengths(128, 3000), 45.0),
        measured(of_lengths(256, 1000), 14.0),
    ]
    found = estimate(point, past, None)
    assert found is not None
    assert found.seconds == pytest.approx(seconds)
    assert not found.is_bound


@pytest.mark.parametrize(
    "point",
    [
        of_lengths(128, 4000),  # longer than what was measured
        of_lengths(64, 1500),
        Point(LLAMA, WorkloadSection(128, 1500, 4)),
        of_lengths(128, 1500, stop=Stop(requests=1)),
    ],
)
def test_beyond_the_lengths_that_were_measured_nothing_is_known(point: Point) -> None:
    past = [measured(of_lengths(128, 1000), 10.0), measured(of_lengths(128, 3000), 45.0)]
    assert estimate(point, past, None) is None


@pytest.mark.parametrize(
    "point",
    [
        asked(40),  # beyond what was measured
        asked(15, engine=EngineSection("llama-3.1-8b", {"max_model_len": 2048})),
        Point(LLAMA, WorkloadSection(256, 100, 15)),
        asked(15, stop=Stop(requests=3)),
    ],
)
def test_another_engine_load_or_length_says_nothing(point: Point) -> None:
    assert estimate(point, PAST, None) is None


def test_no_step_is_faster_than_reading_the_weights_and_the_kv_cache() -> None:
    """8.03e9 parameters of two bytes at 1,606 GB/s are 10 ms a step; 100 steps, twice; and 131,072 KV bytes a token."""
    found = estimate(asked(10, 20), [], DeviceSpeed(1606 * GB))
    assert found is not None
    assert found.basis == "at least"
    assert found.seconds == pytest.approx(2.0 + 20 * 99 * (128 + 50) * 131072 / (1606 * GB), rel=0.001)
    halved = EngineSection("llama-3.1-8b", {"tensor_parallel_size": 2})
    assert estimate(asked(10, 20, halved), [], DeviceSpeed(1606 * GB)) == Estimate(found.seconds / 2, "at least")


@pytest.mark.parametrize(
    ("workload", "stop", "steps"),
    [
        (WorkloadSection(128, 100, 10, 25), Stop(), 300),
        (WorkloadSection(128, 100, 10, 25), Stop(requests=15), 200),
        (WorkloadSection(128, 100, 10, 25), Stop(seconds=9), 300),  # which the seconds limit
        (WorkloadSection(None, 100, 10, 25, Conversations(4, 64)), Stop(), 1200),
        (WorkloadSection(None, 100, 10, 25, Conversations(Uniform(2, 6), 64)), Stop(), 600),
        (WorkloadSection(128, 100, 10, 25), Stop(steady=Steady()), None),
        (WorkloadSection(128, 100, 10, 25, sampling=Sampling(ignore_eos=False)), Stop(), 3),  # of one token each
        (WorkloadSection(128, Uniform(1, 9), 10, 25, sampling=Sampling(ignore_eos=False)), Stop(), 3),
        (WorkloadSection(None, 100, 10, None, Dataset("a.json", "alpaca")), Stop(), None),
    ],
)
def test_the_fewest_steps_are_a_bound_or_nothing(workload: WorkloadSection, stop: Stop, steps: int | None) -> None:
    assert fewest_steps(Point(LLAMA, workload, stop=stop)) == steps
    several_a_step = EngineSection("llama-3.1-8b", {"speculative_config": {"method": "ngram"}})
    assert fewest_steps(Point(several_a_step, workload, stop=stop)) is None


def test_the_arrivals_of_conversations_are_those_of_their_first_turns() -> None:
    slow = WorkloadSection(None, 100, None, 100, Conversations(4, 64), OpenLoop(2.0))
    found = estimate(Point(LLAMA, slow), [], DeviceSpeed(1606 * GB))
    assert found is not None
    assert found.seconds == 50


def test_the_rate_of_reading_says_nothing_of_weights_that_a_cache_may_hold() -> None:
    assert estimate(asked(1, engine=EngineSection("tiny")), [], DeviceSpeed(GB)) is None


def test_a_replayed_trace_takes_its_recorded_times_and_pauses(tmp_path: Path) -> None:
    """Its second session begins 4 s after the first and pauses for 3 s; the first one's pause ends before that."""
    lines = [
        {"session_id": "a", "timestamp": 1000, "input_length": 8, "output_length": 8},
        {"session_id": "a", "delay": 5000, "input_length": 8, "output_length": 8},
        {"session_id": "b", "timestamp": 5000, "input_length": 8, "output_length": 8},
        {"session_id": "b", "delay": 3000, "input_length": 8, "output_length": 8},
    ]
    (tmp_path / "trace.jsonl").write_text("\n".join(map(json.dumps, lines)))
    trace = Trace(str(tmp_path / "trace.jsonl"), "sessions")

    def at_least(speed: float, sessions: int | None = None) -> Estimate | None:
        return estimate(
            Point(LLAMA, WorkloadSection(num_prompts=sessions, prompts=trace, arrivals=Replay(speed))), [], None
        )

    assert at_least(1.0) == Estimate(7.0, "at least")
    assert at_least(2.0) == Estimate(3.5, "at least")
    assert at_least(1.0, 1) == Estimate(5.0, "at least")


def test_arrivals_and_the_time_limit_count() -> None:
    slow = Point(LLAMA, WorkloadSection(128, 100, None, 100, arrivals=OpenLoop(2.0)))
    found = estimate(slow, [], DeviceSpeed(1606 * GB))
    assert found is not None
    assert found.seconds == 50
    even = msgspec.structs.replace(slow, workload=WorkloadSection(128, 100, None, 100, arrivals=Constant(2.0)))
    assert estimate(even, [], None) == Estimate(49.5, "at least")  # the first arrives at once
    short = msgspec.structs.replace(slow, stop=Stop(seconds=9.0))
    assert estimate(short, [], DeviceSpeed(1606 * GB)) == Estimate(9.0, "at least")


def test_no_prompt_is_faster_than_its_matrix_products() -> None:
    """6.98e9 parameters in matrices at two operations a token, and the masked half of 32 layers of 4,096 squares."""
    prompt = Point(LLAMA, WorkloadSection(64000, 1, 1, 3))
    device = DeviceSpeed(1606 * GB, multiplies={"bfloat16": 800e12, "float32": 1.0})
    operations = 3 * (2 * 6.979e9 * 64000 + 2 * 32 * 4096 * 64000**2)
    found = estimate(prompt, [], device)
    assert found is not None
    assert found.basis == "at least"
    assert found.seconds == pytest.approx(operations / 800e12, rel=0.001)
    quantized = msgspec.structs.replace(prompt, engine=EngineSection("llama-3.1-70b-fp8"))
    assert estimate(quantized, [], DeviceSpeed(1e30, multiplies={"bfloat16": 1.0})).seconds < 1e-9


def test_the_tokens_of_answers_are_multiplied_too() -> None:
    """Of 20 answers of 100 tokens 99 are steps of their own, beside 20 prompts of 128 tokens."""
    operations = 20 * (2 * 6.979e9 * 128 + 2 * 32 * 4096 * 128**2) + 2 * 6.979e9 * 20 * 99
    found = estimate(asked(10, 20), [], DeviceSpeed(1e30, multiplies={"bfloat16": 1e12}))
    assert found is not None
    assert found.seconds == pytest.approx(operations / 1e12, rel=0.001)


def test_a_small_model_is_bound_by_its_products_on_the_machine_that_is_here() -> None:
    """On a GPU that is known by its datasheet, they are nothing beside what the host does."""
    point = asked(10, 20, EngineSection("tiny"))
    shape = model_geometry("tiny")
    assert shape is not None
    found = estimate(point, [], DeviceSpeed(1e9, multiplies={"bfloat16": 1e9}))
    assert found is not None
    assert found.seconds == pytest.approx(2 * shape.linear_parameters * 20 * (128 + 99) / 1e9, rel=0.1)
    assert estimate(point, [], DeviceSpeed(1e9, multiplies={"bfloat16": 1e9}, of="a datasheet")) is None


def test_a_machine_that_was_never_measured_is_measured_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration_estimate, "core_rates", lambda: CoreRates(20 * GB, {"float32": 1e11}))
    found = speed_here({"ceilings": {}, "gpus": []})
    assert found is not None
    assert (found.bytes_per_second, found.multiplies, len(found.doubts)) == (20 * GB, {"float32": 1e11}, 1)
    copy = {"memory copy": {"value": 16 * GB, "unit": "B/s", "verdict": "trusted"}}
    assert speed_here({"ceilings": {"cpu-1": copy}, "gpus": []}) == DeviceSpeed(16 * GB)
    assert speed_here({"ceilings": {}, "gpus": [{"uuid": "GPU-a"}]}) is None


def test_rates_that_were_measured_beside_other_programs_are_no_bound_where_the_cores_do_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        duration_estimate, "core_rates", lambda: CoreRates(20 * GB, {"float32": 1e11, "bfloat16": 1e11})
    )
    busy = {"verdict": "doubtful", "doubts": ["unstable"]}
    copy = {"value": 16 * GB, "unit": "B/s", **busy}
    products = {"gemm bf16 square": {"value": 1e10, **busy}, "gemm fp32 square": {"value": 2e11, **busy}}
    found = speed_here({"ceilings": {"cpu-1": {"memory copy": copy, **products}}, "gpus": []})
    assert found is not None
    assert found.bytes_per_second == 20 * GB
    assert found.multiplies == {"bfloat16": 1e11, "float32": 2e11}
    assert found.doubts[0] == "unstable"


def test_prompts_of_other_lengths_are_bound_by_the_tokens_that_no_prefix_cache_has() -> None:
    """Two conversations of three turns: 128 + 16, then 16 and 16 tokens, of which 128 are shared by both.

    Each of the six answers has 99 steps of its own.
    """
    talk = Conversations(system_len=128, input_len=16, turns=3)
    chat = Point(LLAMA, WorkloadSection(None, 100, 2, 2, prompts=talk))
    found = estimate(chat, [], DeviceSpeed(1e30, multiplies={"bfloat16": 800e12}))
    assert found is not None
    assert found.basis == "at least"
    assert found.seconds == pytest.approx(2 * 6.979e9 * (128 + 6 * 16 + 6 * 99) / 800e12, rel=0.01)
    ended = msgspec.structs.replace(chat, stop=Stop(requests=1))
    assert estimate(ended, [], DeviceSpeed(1e30, multiplies={"bfloat16": 800e12})).seconds < 1e-9


def test_a_long_answer_is_bound_by_its_own_keys_and_values() -> None:
    """128,000 steps read 14.5 GB of weights and on average 64,128 tokens of 131,072 bytes, over two GPUs."""
    shape = {"tensor_parallel_size": 2, "max_model_len": 131072}
    long = Point(EngineSection("mistral-7b-128k", shape), WorkloadSection(128, 128_000))
    found = estimate(long, [], DeviceSpeed(3900 * GB))
    assert found is not None
    assert found.seconds == pytest.approx(128_000 * (7241732096 * 2 + 64_128 * 131_072) / 2 / (3900 * GB), rel=0.001)


def test_the_speed_is_that_of_the_cards_where_there_are_cards() -> None:
    def ceiling(value: float, unit: str = "B/s") -> dict[str, Any]:
        return {"value": value, "unit": unit, "verdict": "trusted"}

    host = {"memory copy": ceiling(20 * GB), "gemm int8 square": ceiling(9e12, "FLOP/s")}
    products = {"gemm bf16 square": ceiling(7e14, "FLOP/s"), "gemm bf16 best shape": ceiling(8e14, "FLOP/s")}
    card = {"memory copy": ceiling(2000 * GB), "memory read": ceiling(2100 * GB), **products}
    ceilings = {"cpu-1": host, "GPU-a": card}
    assert measured_speed({"ceilings": ceilings, "gpus": [{"uuid": "GPU-a"}]}) == DeviceSpeed(
        2100 * GB, multiplies={"bfloat16": 8e14}
    )
    assert measured_speed({"ceilings": {"cpu-1": host}, "gpus": []}) == DeviceSpeed(20 * GB)
    host["memory copy"] |= {"verdict": "doubtful", "doubts": ["unstable"]}
    assert measured_speed({"ceilings": {"cpu-1": host}, "gpus": []}) == DeviceSpeed(20 * GB, ("unstable",))
    assert measured_speed({"ceilings": {"cpu-1": host}, "gpus": [{"uuid": "GPU-b"}]}) is None
    assert measured_speed({"ceilings": {}, "gpus": []}) is None


def test_an_engine_starts_as_fast_as_it_did() -> None:
    assert engine_start([asked(1)], PAST) == 20
    assert engine_start([asked(1, engine=EngineSection("tiny"))], PAST) is None


def test_other_hardware_is_another_matter() -> None:
    here = {"host": {"name": "EPYC", "cores": 2}, "gpus": [{"name": "L4", "uuid": "1"}]}
    assert same_hardware({**here, "gpus": [{"name": "L4", "uuid": "2"}]}, here)
    assert not same_hardware({**here, "gpus": []}, here)
    assert not same_hardware({}, {})


def test_a_damaged_result_is_no_history(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    for text in ("{", "[]", json.dumps({"points": [{"status": "complete", "id": "gone"}, {}]})):
        file.write_text(text)
        assert list(points_of(file, {})) == []


def card(gib: float) -> dict[str, Any]:
    return {"name": "a card", "uuid": "GPU-a", "memory_bytes": int(gib * GIB)}


@pytest.mark.parametrize(
    ("arguments", "cards", "sentence"),
    [
        ({"tensor_parallel_size": 2}, [card(80)], "2 ranks need as many GPUs, and there are 1: lower tensor_par"),
        ({"data_parallel_size": 2}, [card(80)], "2 ranks need as many GPUs, and there are 1: lower tensor_par"),
    ],
)
def test_more_ranks_than_cards_are_refused(arguments: dict[str, Any], cards: list[Any], sentence: str) -> None:
    point = asked(1, engine=EngineSection("llama-3.1-8b", arguments))
    with pytest.raises(InputError) as refused:
        check_gpus([point], cards)
    assert sentence in str(refused.value)


def test_weights_that_a_host_without_gpus_cannot_hold_are_refused_by_a_run() -> None:
    large = asked(1, engine=EngineSection("falcon-40b"))
    check_host([large], int(80 * GIB))
    with pytest.raises(
        InputError, match=r"the weights of falcon-40b take 76.9 GiB, and this machine has no GPU and 24"
    ):
        check_host([large], int(24 * GIB))


def test_a_dry_run_shows_what_cannot_run_here_without_a_time() -> None:
    sweep = read_sweep("concurrency_falcon_40b", ["workload.concurrency=[1, 10]"])
    console = Console(width=80, file=StringIO(), record=True)
    hardware = {"gpus": [], "host": {"memory_bytes": int(24 * GIB)}}
    left_out = beyond_machine(points(sweep), [], int(24 * GIB))
    show_points(sweep, Target(hardware=hardware), console, left_out)
    told = console.export_text(clear=False)
    assert told.count("cannot run ") == 2
    assert "Left out: concurrency 1 and 1 more point: the weights of falcon-40b take 76.9 GiB" in told
    assert "without a time" not in told
    show_points(sweep, Target(nodes=[]), console)  # of a fleet
    assert console.export_text().count("cannot run") == 2


def test_a_dry_run_that_rests_on_a_doubtful_bandwidth_says_so() -> None:
    busy = "measured while other programs used 48% of the cores"
    copy = {"value": 20 * GB, "unit": "B/s", "verdict": "doubtful", "doubts": [busy]}
    hardware = {"gpus": [], "host": {"memory_bytes": int(240 * GIB)}, "ceilings": {"cpu-1": {"memory copy": copy}}}
    console = Console(width=80, file=StringIO(), record=True)
    sweep = read_sweep("concurrency_falcon_40b", ["workload.concurrency=[1, 10]"])
    show_points(sweep, Target(hardware=hardware), console)
    told = " ".join(console.export_text().split())
    assert f"The rates behind ≥ are doubtful ({busy}): if they were measured too low, the bound is too high." in told


def test_at_eighty_columns_a_point_is_one_line_and_a_file_that_is_not_here_is_named() -> None:
    console = Console(width=80, file=StringIO(), record=True)
    hardware = {"gpus": [], "host": {"memory_bytes": int(240 * GIB)}}
    show_points(read_sweep("h100_users"), Target(hardware=hardware), console)
    lines = console.export_text().splitlines()
    assert lines[0] == "Model: llama-3.1-8b"
    assert sum(" users, " in line and " of 3 " in line for line in lines) == 12
    assert any("no file alpaca_data.json here" in line and "--set workload.prompts.path=FILE" in line for line in lines)


def test_a_pool_that_vllm_makes_of_a_share_of_the_memory_is_shown_as_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pool and weights share 2 GiB of 4; a token takes keys and values of 30 layers, 3 heads and 64 numbers."""
    monkeypatch.setattr(host_memory_shares, "memory_nodes", lambda: [MemoryNode(4 * GIB, 4 * GIB)])
    arguments = {"gpu_memory_utilization": 0.5, "block_size": 16}
    points_here = [asked(8, engine=EngineSection("smollm2", arguments))]
    ((spec, memory),) = host_memory_shares.host_memories(points_here).items()
    assert spec.arguments == arguments
    assert memory.refusal is None
    assert memory.pool_tokens is None  # not known, so that a suite counts on nothing
    assert memory.most_pool_tokens is not None
    assert memory.most_pool_tokens < 2 * GIB / (30 * 3 * 64 * 2 * 2)
    needed = tokens_needed(points_here[0])
    assert needed is not None
    assert size_cells(points_here[0], [], None, memory)[-1] == f"≥ {needed / memory.most_pool_tokens:.0%}"


def test_users_who_keep_a_pace_take_their_time_however_fast_answers_come() -> None:
    """The last of 800 is the 16th question of the last of 50 users, who began 39.2 s after the first."""
    paced = ClosedLoop(50, pace_seconds=40.0, spread_seconds=40.0)
    point = Point(LLAMA, WorkloadSection(128, 100, num_prompts=800, arrivals=paced))
    found = estimate(point, [], None)
    assert found is not None
    assert found.basis == "at least"
    assert found.seconds == pytest.approx(15 * 40 + 39.2)
    assert estimate(msgspec.structs.replace(point, stop=Stop(requests=5)), [], None) is None


def test_the_shipped_paced_sweep_takes_the_hour_that_it_tells() -> None:
    seconds = [found.seconds for point in points(read_sweep("h100_users")) if (found := estimate(point, [], None))]
    assert sum(seconds) / 60 == pytest.approx(59.9, abs=0.1)
    assert "about an hour" in find_sweep("h100_users").read_text().splitlines()[1]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.5, "0.5 s"), (42, "42 s"), (90, "1.5 min"), (1500, "25 min"), (9000, "2.5 h")]
)
def test_times_are_told_as_people_do(seconds: float, words: str) -> None:
    assert long_duration(seconds) == words


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(command, ["smoke", "--dry-run", "--like", str(tmp_path / "gone")])
    assert isinstance(outcome.exception, InputError)
    assert "there is no such folder" in str(outcome.exception)


def test_a_search_that_was_never_recorded_has_a_bound_and_says_what_is_not_in_it(tmp_path: Path) -> None:
    words = ["engine_arguments", "--dry-run", "--like", str(tmp_path)]
    outcome = CliRunner().invoke(command, words, env={"COLUMNS": "120"})
    assert outcome.exit_code == 0
    assert "Predicted: at least " in outcome.output
    assert "19 engine starts, which were not measured here, come on top" in outcome.output
    assert "engine_probe sweep smoke --model tiny --set repeats=1" in outcome.output


def test_without_any_rate_a_search_has_no_time() -> None:
    console = Console(width=120, file=StringIO(), record=True)
    hardware = {"gpus": [], "host": {"memory_bytes": int(24 * GIB)}}
    show_points(read_sweep("engine_arguments"), Target(hardware=hardware), console)
    told = console.export_text()
    assert "No time: how fast this machine" in told
    assert "Predicted" not in told
