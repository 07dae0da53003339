"""A point that was never measured is predicted by what the steps of other recordings of its engine cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.engine.models.embedded import embedded_model, place_of
from engine_probe.recordings.run import load
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.sweep.preflight.asked_requests import ChatTokenizer
from engine_probe.sweep.preflight.duration_estimate import Estimate, estimate
from engine_probe.sweep.preflight.earlier_sweeps import Past
from engine_probe.sweep.preflight.recorded_prices import RecordedPrices, recording_command
from engine_probe.workload.question_set.chat_tokens import chat_encoder
from tests.support.recordings.run_folders import facts, ran, write_run


def asked(concurrency: int, prompt: int = 48, answer: int = 40, **arguments: Any) -> Point:
    return Point(EngineSection("tiny", {"block_size": 16, **arguments}), WorkloadSection(prompt, answer, concurrency))


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> list[Past]:
    folder, found = tmp_path_factory.mktemp("recordings"), []
    for concurrency in (1, 2, 4, 8, 16, 24):
        run = write_run(folder / str(concurrency), ran(concurrency))
        point = asked(concurrency, enable_prefix_caching=False)
        found.append(Past(point.key, point, 1.0, 40, 1000, None, run))
    return found


@pytest.mark.parametrize(("concurrency", "prompt", "answer"), [(2, 48, 40), (6, 96, 20), (12, 48, 40)])
def test_it_takes_as_long_as_the_same_engine_does(
    past: list[Past], tmp_path: Path, concurrency: int, prompt: int, answer: int
) -> None:
    truth = load(write_run(tmp_path / "run", ran(concurrency, prompt, answer, blocks=400), facts(400)))
    found = estimate(asked(concurrency, prompt, answer, max_num_seqs=64), past, None, RecordedPrices(past))
    assert found is not None
    assert found.basis == "step prices"
    assert found.seconds == pytest.approx(truth.analysis().summary.seconds, rel=0.1)


@pytest.mark.parametrize(
    "point",
    [
        asked(4, dtype="float32"),
        asked(4, enforce_eager=True),
        Point(EngineSection("smollm2", {"block_size": 16}), WorkloadSection(48, 40, 4)),
        asked(4, speculative_config={"method": "ngram"}),
    ],
)
def test_recordings_of_another_engine_price_nothing(past: list[Past], point: Point) -> None:
    assert RecordedPrices(past)(point) is None


def test_recordings_under_other_variables_price_nothing(past: list[Past]) -> None:
    point = asked(4)
    other = msgspec.structs.replace(point.engine, environment={"VLLM_BATCH_INVARIANT": 1})
    assert estimate(msgspec.structs.replace(point, engine=other), past, None, RecordedPrices(past)) is None
    assert " --set engine.environment.VLLM_BATCH_INVARIANT=1" in recording_command(other.spec)


def test_what_was_measured_comes_before_what_is_predicted(past: list[Past]) -> None:
    assert estimate(past[2].point, past, None, RecordedPrices(past)) == Estimate(1.0, "the same point")


def test_the_command_that_tells_has_the_arguments_that_change_a_step() -> None:
    point = asked(4, max_num_seqs=4, dtype="float32")
    assert recording_command(point.engine.spec) == (
        "engine_probe sweep smoke --model tiny --set repeats=1 --set engine.arguments.block_size=16 "
        '--set engine.arguments.dtype="float32" --set engine.arguments.enforce_eager={}'
    )


@pytest.mark.lengthy
@pytest.mark.parametrize("model", ["tiny", "smollm2"])
def test_questions_have_the_tokens_that_transformers_gives_them(model: str) -> None:
    """Two turns with a system prompt, as vLLM's tokenizer encodes them and as the light one of a dry run does."""
    from transformers import AutoTokenizer

    messages = [{"role": role, "content": text} for role, text in (("system", "Be kind."), ("user", "Où est-il ?"))]
    for tokens in chat_encoder(AutoTokenizer.from_pretrained(embedded_model(model)), "questions")(messages):
        assert tokens == chat_encoder(ChatTokenizer(place_of(model)), "questions")(messages)[0]
        assert len(tokens) > 10
