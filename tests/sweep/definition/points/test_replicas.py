"""`replicas` and `[[mix]]` in a sweep file: their points, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.sweep.definition.loader import read_sweep
from engine_probe.sweep.definition.sweep_file import SweepFile, points

BASE = """
question = "?"
{top}
[engine]
model = "tiny"
[workload]
input_len = 50
output_len = 20
concurrency = 4
"""
MIX = """
[[mix]]
replicas = 2
engine = { model = "tiny", arguments = { max_num_seqs = 4 } }
workload = { input_len = 10, output_len = 10, concurrency = 2 }
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Any:
    def read(top: str = "", below: str = "") -> SweepFile:
        path = tmp_path / "mine.toml"
        path.write_text(BASE.format(top=top) + below)
        return read_sweep(str(path))

    return read


def test_one_replica_is_the_point_that_it_was_before(sweep: Any) -> None:
    assert points(sweep())[0].key == points(sweep("replicas = 1"))[0].key
    assert points(sweep("replicas = 2"))[0].key != points(sweep("replicas = 3"))[0].key
    assert points(sweep(below=MIX))[0].key != points(sweep())[0].key


def test_as_an_axis_it_names_its_points(sweep: Any) -> None:
    found = points(sweep(below="[axes]\nreplicas = [1, 2, 4]\n"))
    assert [point.label for point in found] == ["1 replica", "2 replicas", "4 replicas"]
    assert [len(point.engines) for point in found] == [1, 2, 4]
    assert [point.curve for point in found] == [{"replicas": 1}, {"replicas": 2}, {"replicas": 4}]


def test_a_mix_adds_engines_with_their_own_requests(sweep: Any) -> None:
    (point,) = points(sweep("replicas = 3", MIX))
    assert [(part.workload.concurrency, count) for part, count in point.parts] == [(4, 3), (2, 2)]
    assert [dict(engine.arguments) for engine in point.engines] == [{}] * 3 + [{"max_num_seqs": 4}] * 2
    assert all(part.workload.hold for part, _ in point.parts)
    assert point.output_tokens == sum((part.workload.output_tokens or 0) * count for part, count in point.parts)


def test_without_a_workload_of_its_own_a_mix_has_that_of_the_sweep(sweep: Any) -> None:
    (point,) = points(sweep(below='[[mix]]\nengine = { model = "tiny" }\n'))
    assert [part.workload for part in point.each_engine] == [point.workload] * 2


def test_what_a_sweep_wrote_reads_as_the_same_points(sweep: Any) -> None:
    (point,) = points(sweep("replicas = 3", MIX))
    written = msgspec.json.encode(point)
    assert msgspec.json.decode(written, type=type(point)).key == point.key


@pytest.mark.parametrize(
    ("top", "below", "sentence"),
    [
        ("replicas = 0", "", "replicas is 0, expected a whole number >= 1"),
        ("replicas = 2", "[axes]\nprobe = [true, false]\n", "probe = false: the sum over engines is counted"),
        (
            "replicas = 2",
            "[search]\ntrials = 4\n[search.arguments.max_num_seqs]\nlow = 2\nhigh = 8\n",
            "search varies the arguments of one engine",
        ),
        (
            "replicas = 2",
            '[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 4\ngoal = "slo"\n'
            "slo = { joules_per_token = 1.0 }\n",
            "adaptive.slo limits .*, which engines beside each other share",
        ),
        ("replicas = 2\ncheck_integrity = true", "", "compares the answers of several loads, and there is only 4"),
        ("replicas = 100000", "", "100,000 engines are more than 1024 at a point"),
        ("", "[[mix]]\nreplicas = 2\n", r"mix\[0\].engine is missing"),
        (
            "",
            '[[mix]]\nreplica = 2\nengine = { model = "tiny" }\n',
            r"mix\[0\].replica is not known: did you mean replicas",
        ),
        ("", '[[mix]]\nengine = { model = "tinny" }\n', "unknown model 'tinny': did you mean tiny"),
        ("", '[[mix]]\nengine = { model = "tiny", arguments = { max_num_seq = 2 } }\n', "max_num_seq"),
        (
            "",
            '[[mix]]\nengine = { model = "tiny", arguments = { max_model_len = 8 } }\n',
            "more than max_model_len = 8",
        ),
    ],
)
def test_what_cannot_be_is_refused(sweep: Any, top: str, below: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        sweep(top, below)


def test_engines_together_are_searched_and_their_answers_compared(sweep: Any) -> None:
    searched = sweep("replicas = 2", '[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = 4\n')
    assert searched.adaptive is not None
    compared = sweep(
        "replicas = 2\ncheck_integrity = true", "num_prompts = 8\n[axes]\n'workload.concurrency' = [1, 4]\n"
    )
    assert sorted(point.load for point in points(compared)) == [1, 1, 4]
    assert all(point.answers and point.answers.logprobs for point in points(compared))
