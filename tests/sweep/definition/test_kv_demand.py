"""How much KV cache points can use, from their descriptions alone."""

from __future__ import annotations

import msgspec
import pytest

from engine_probe.engine.cpu.cpu_kv_pool import KvNeed
from engine_probe.perplexity.perplexity_spec import Quality
from engine_probe.sweep.definition.kv_demand import need_of, need_of_all
from engine_probe.sweep.definition.sweep_file import EngineSection, Point
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.workload.arrivals import ClosedLoop, OpenLoop
from engine_probe.workload.dataset_file import Dataset
from engine_probe.workload.lengths import Lognormal, Uniform
from engine_probe.workload.prompts import Conversations, SharedPrefix
from engine_probe.workload.traces.trace_file import Trace


def point(workload: WorkloadSection, **arguments: object) -> Point:
    return Point(EngineSection("tiny", arguments), workload)


@pytest.mark.parametrize(
    ("workload", "need"),
    [
        (WorkloadSection(64, 32, concurrency=8, num_prompts=100), KvNeed(8, 96)),
        (WorkloadSection(64, 32, num_prompts=100), KvNeed(100, 96)),
        (WorkloadSection(64, 32, num_prompts=100, arrivals=OpenLoop(3)), KvNeed(100, 96)),
        (WorkloadSection(64, 32, concurrency=8, num_prompts=100, arrivals=OpenLoop(3)), KvNeed(8, 96)),
        (WorkloadSection(64, 32, num_prompts=100, arrivals=ClosedLoop(5)), KvNeed(5, 96)),
        (WorkloadSection(Uniform(1, 50), Lognormal(10, 1, high=200), concurrency=2), KvNeed(2, 250)),
        (
            WorkloadSection(output_len=10, concurrency=4, prompts=SharedPrefix(500, 20, num_prefixes=3)),
            KvNeed(4, 530, shared_tokens=1500),
        ),
        (
            WorkloadSection(output_len=10, concurrency=4, prompts=Conversations(Uniform(2, 6), 20, system_len=100)),
            KvNeed(4, 280),
        ),
        (
            WorkloadSection(concurrency=4, prompts=Dataset("f.jsonl", "jsonl", max_total_len=512)),
            KvNeed(4, 512),
        ),
    ],
)
def test_in_flight_times_the_longest(workload: WorkloadSection, need: KvNeed) -> None:
    assert need_of(point(workload)) == need


@pytest.mark.parametrize(
    "workload",
    [
        WorkloadSection(concurrency=4, prompts=Dataset("f.jsonl", "jsonl")),  # lengths are the file's
        WorkloadSection(
            output_len=10, prompts=Dataset("f.jsonl", "jsonl", max_total_len=512)
        ),  # as is how many there are
        WorkloadSection(concurrency=4, prompts=Trace("t.csv", "burstgpt")),
    ],
)
def test_what_a_file_says_is_unknown(workload: WorkloadSection) -> None:
    assert need_of(point(workload)) is None


def test_the_engine_may_run_fewer() -> None:
    assert need_of(point(WorkloadSection(64, 32, num_prompts=100), max_num_seqs=16)) == KvNeed(16, 96)


def test_conversations_keep_their_history_while_others_run() -> None:
    work = WorkloadSection(output_len=10, concurrency=40, prompts=Conversations(2, 20))
    assert need_of(point(work, max_num_seqs=16)) == KvNeed(40, 60)


@pytest.mark.parametrize(("window", "need"), [(512, KvNeed(4, 513)), (4096, KvNeed(1, 4097))])
def test_a_text_needs_the_windows_that_are_scored_together(window: int, need: KvNeed) -> None:
    asked = msgspec.structs.replace(point(WorkloadSection()), quality=Quality("text", window=window))
    assert need_of(asked) == need


class TestOfAllPoints:
    def test_the_largest_counts(self) -> None:
        levels = [point(WorkloadSection(64, 32, concurrency=level)) for level in (1, 16, 4)]
        assert need_of_all(levels) == KvNeed(16, 96)

    def test_one_unknown_makes_all_unknown(self) -> None:
        known = point(WorkloadSection(64, 32, concurrency=2))
        unknown = point(WorkloadSection(concurrency=2, prompts=Trace("t.csv", "burstgpt")))
        assert need_of_all([known, unknown]) is None
        assert need_of_all([]) is None
