"""The plan of a workload: the same requests for the same seed, exact lengths, impossible ones refused."""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import sys
import tomllib
import weakref
from itertools import pairwise
from types import SimpleNamespace

import msgspec
import pytest

from engine_probe.errors import InputError
from engine_probe.workload.arrivals import Burst, ClosedLoop, Constant, OpenLoop, Ramp, Replay
from engine_probe.workload.lengths import Geometric, Length, Lognormal, Normal, Uniform
from engine_probe.workload.prompts import Chances, Conversations, Drawing, RandomPrompts, SharedPrefix, random_drafts
from engine_probe.workload.request_plan import Plan, array_header, check_fits, make_plan, sizes
from engine_probe.workload.workload_run import sampling_parameters
from engine_probe.workload.workload_spec import Sampling, Workload
from tests.support.values import values

DESCRIPTION = Workload(
    SharedPrefix(prefix_len=20, input_len=Lognormal(median=30, sigma=0.8, high=90), num_prefixes=3, share=0.7),
    OpenLoop(20, burstiness=0.5),
    output_len=Uniform(5, 15),
    num_prompts=50,
    seed=3,
)


def prompts(plan: Plan) -> list[list[int]]:
    return [request.prompt_token_ids for session in plan.sessions for request in session.requests]


def arrivals_seconds(plan: Plan) -> list[float]:
    return [(session.arrival_ns or 0) / 1e9 for session in plan.sessions]


def test_a_seed_gives_the_same_bytes_in_another_process() -> None:
    program = (
        "import sys, msgspec\n"
        "from engine_probe.workload.request_plan import make_plan\n"
        "from engine_probe.workload.workload_spec import Workload\n"
        "print(make_plan(msgspec.json.decode(sys.argv[1], type=Workload)).sha256)"
    )
    text = msgspec.json.encode(DESCRIPTION).decode()
    command = [sys.executable, "-c", program, text]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}).stdout
    assert told.strip() == make_plan(DESCRIPTION).sha256
    other = msgspec.structs.replace(DESCRIPTION, seed=4)
    assert make_plan(other).sha256 != make_plan(DESCRIPTION).sha256


@pytest.mark.parametrize("number", [3, 40])
def test_the_hash_is_that_of_the_plan_as_msgpack(number: int) -> None:
    """Recordings of before hold it, computed at once."""
    plan = make_plan(Workload(RandomPrompts(1), ClosedLoop(2), output_len=1, num_prompts=number))
    whole = msgspec.structs.replace(plan, sessions=list(plan.sessions))
    assert plan.sha256 == hashlib.sha256(msgspec.msgpack.encode(whole)).hexdigest()


@pytest.mark.parametrize("length", [0, 15, 16, (1 << 16) - 1, 1 << 16])
def test_an_array_begins_as_msgpack_says(length: int) -> None:
    whole = msgspec.msgpack.encode([None] * length)
    assert array_header(length) == whole[: len(whole) - length]


def test_these_bytes_do_not_change_from_one_version_to_the_next() -> None:
    """The plan uses only integers and arithmetic, so every machine makes the same one."""
    plan = make_plan(Workload(RandomPrompts(3), output_len=2, num_prompts=2, seed=1))
    assert prompts(plan) == [[74, 33, 68], [56, 32, 43]]


def test_fewer_prompts_are_the_first_of_more_and_a_longer_one_begins_like_a_shorter_one() -> None:
    def some(count: int, length: int) -> list[list[int]]:
        return [draft.turns[0].prompt for draft in random_drafts(Drawing(7, length, 1), count)]

    assert some(3, 5) == some(9, 5)[:3]
    assert some(3, 5) == [prompt[:5] for prompt in some(3, 8)]


def test_other_answers_or_arrivals_leave_the_prompts_alone() -> None:
    other = msgspec.structs.replace(DESCRIPTION, output_len=100, arrivals=Burst())
    assert prompts(make_plan(other)) == prompts(make_plan(DESCRIPTION))


def test_lengths_are_exact_or_from_their_distribution() -> None:
    chance = Chances(0)
    fixed = make_plan(Workload(RandomPrompts(17), output_len=9, num_prompts=5))
    assert {(size.input_len, size.output_len) for size in sizes(fixed)} == {(17, 9)}
    drawing = Drawing(0, Normal(mean=500, deviation=50, high=1000), Uniform(2, 4))
    lengths = [drawing.input.draw() for _ in range(4000)]
    assert statistics.mean(lengths) == pytest.approx(500, abs=5)
    assert statistics.stdev(lengths) == pytest.approx(50, abs=3)
    assert {drawing.output.draw() for _ in range(100)} == {2, 3, 4}
    assert drawing.notes == []
    assert chance.stream("a").random() != chance.stream("b").random()


def test_geometric_lengths_end_at_each_token_with_the_same_probability() -> None:
    length = Geometric(mean=100, high=512)
    drawing = Drawing(0, 8, length)
    lengths = [drawing.output.draw() for _ in range(20_000)]
    for tokens in (1, 50, 100, 300):
        expected = 0.99**tokens
        assert sum(one > tokens for one in lengths) / 20_000 == pytest.approx(expected, abs=0.012)
    assert (min(lengths), max(lengths)) == (1, 512)
    assert lengths[:50] == [Drawing(0, 8, length).output.draw(), *lengths[1:50]]  # the seed decides


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ({"mean": 1, "high": 512}, "Expected `float` > 1"),
        ({"mean": float("inf"), "high": 512}, "Expected `float` <="),
        ({"mean": 20, "high": 0}, "Expected `int` >= 1"),
        ({"mean": 20, "high": 8, "low": 9}, "low = 9 is above high = 8"),
    ],
)
def test_a_geometric_length_that_cannot_be_is_refused(length: dict[str, float], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert({"kind": "geometric", **length}, Length)


def test_what_is_clipped_is_said() -> None:
    plan = make_plan(
        Workload(RandomPrompts(Lognormal(median=100, sigma=1, low=50, high=200)), output_len=1, num_prompts=400)
    )
    lengths = [size.input_len for size in sizes(plan)]
    outside = sum(length in (50, 200) for length in lengths)
    assert statistics.median(lengths) == pytest.approx(100, abs=10)
    (note,) = plan.notes
    said = int(note.split()[0])
    assert note.endswith("of 400 drawn prompts lay outside 50 to 200 tokens and were clipped")
    assert 0 < said <= outside  # a draw may also round to a limit


def test_prefixes_are_shared_by_as_many_as_told() -> None:
    plan = make_plan(
        Workload(SharedPrefix(prefix_len=32, input_len=8, num_prefixes=2, share=0.75), output_len=1, num_prompts=400)
    )
    heads = [tuple(prompt[:32]) for prompt in prompts(plan)]
    common = {head for head in heads if heads.count(head) > 1}
    assert len(common) == 2
    assert sum(head in common for head in heads) == pytest.approx(300, abs=30)
    assert {len(prompt) for prompt in prompts(plan)} == {40}


def test_conversations_begin_alike_and_grow_turn_by_turn() -> None:
    plan = make_plan(
        Workload(Conversations(turns=Uniform(2, 3), input_len=5, system_len=10), output_len=4, num_prompts=20)
    )
    assert len({tuple(session.requests[0].prompt_token_ids[:10]) for session in plan.sessions}) == 1
    assert {len(session.requests) for session in plan.sessions} == {2, 3}
    assert [size.input_len for size in sizes(plan)][:2] == [15, 15 + 4 + 5]
    assert [request.id for request in plan.sessions[1].requests][:2] == ["1.0", "1.1"]


def test_an_open_loop_keeps_its_rate_and_its_burstiness_as_vllm_bench_means_them() -> None:
    def gaps(burstiness: float) -> list[float]:
        plan = make_plan(Workload(RandomPrompts(1), OpenLoop(20, burstiness), output_len=1, num_prompts=2000))
        times = [0.0, *arrivals_seconds(plan)]
        assert times[-1] == pytest.approx(100)  # the last of 2,000 at 20 per second
        return [late - early for early, late in pairwise(times)]

    for burstiness in (0.25, 1.0, 4.0):
        variation = statistics.stdev(gaps(burstiness)) / 0.05
        assert variation == pytest.approx(burstiness**-0.5, rel=0.1)
    assert statistics.stdev(gaps(float("inf"))) == pytest.approx(0, abs=1e-9)


def test_constant_and_infinite_rates_ramps_and_bursts() -> None:
    def times(arrivals: object, count: int = 5) -> list[float]:
        return arrivals_seconds(make_plan(Workload(RandomPrompts(1), arrivals, output_len=1, num_prompts=count)))

    assert times(Constant(4)) == [0, 0.25, 0.5, 0.75, 1.0]
    assert times(Burst()) == times(OpenLoop(float("inf"))) == [0] * 5
    assert times(Ramp(1, 2, burstiness=float("inf")), 3) == pytest.approx([1, 1 + 1 / 1.5, 1.5 + 1 / 1.5])
    assert times(Ramp(1, 4, "exponential", float("inf")), 3) == pytest.approx([1, 1.5, 1.75])
    plan = make_plan(Workload(RandomPrompts(1), ClosedLoop(2), output_len=1, num_prompts=3))
    assert {session.arrival_ns for session in plan.sessions} == {None}


def test_thinking_has_the_average_it_was_told() -> None:
    loop = ClosedLoop(10, think_seconds=2, think="exponential")
    plan = make_plan(Workload(RandomPrompts(1), loop, output_len=1, num_prompts=3000))
    rests = [session.rest_ns / 1e9 for session in plan.sessions]
    assert statistics.mean(rests) == pytest.approx(2, rel=0.1)
    assert statistics.stdev(rests) == pytest.approx(2, rel=0.1)


def test_what_does_not_fit_the_model_is_refused_in_one_sentence() -> None:
    plan = make_plan(Workload(Conversations(turns=2, input_len=100), output_len=50, num_prompts=3))
    check_fits(plan, 300)
    with pytest.raises(InputError) as refused:
        check_fits(plan, 299)
    assert values(str(refused.value)) == ["3", "6", "299", "0.1", "250", "50"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ({"prompts": {"kind": "random", "input_len": 5}, "num_prompts": 2}, "output_len is missing"),
        ({"prompts": {"kind": "random", "input_len": 5}, "output_len": 2}, "num_prompts is missing"),
        ({"prompts": {"kind": "random", "input_len": 0}}, "Expected `int` >= 1 - at `$.prompts.input_len`"),
        ({"prompts": {"kind": "random", "input_length": 5}}, "unknown field `input_length` - at `$.prompts`"),
        (
            {"prompts": {"kind": "random", "input_len": {"kind": "uniform", "low": 9, "high": 3}}},
            "low = 9 is above high = 3: exchange them - at `$.prompts.input_len`",
        ),
        (
            {"prompts": {"kind": "random", "input_len": 5}, "output_len": 1, "num_prompts": 1}
            | {"arrivals": {"kind": "replay"}},
            "only a trace has times",
        ),
        (
            {"prompts": {"kind": "random", "input_len": 5}, "output_len": 1, "num_prompts": 1}
            | {"arrivals": {"kind": "closed_loop", "users": 2}, "max_concurrency": 3},
            "max_concurrency says the same as the users",
        ),
        ({"prompts": {"kind": "trace", "path": "x", "format": "mooncake"}, "output_len": 3}, "brings its own lengths"),
    ],
)
def test_a_description_that_cannot_be_is_refused_with_its_place(text: dict[str, object], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(text, Workload)
    assert sentence in str(refused.value)


def test_made_in_python_the_same_is_an_input_error() -> None:
    with pytest.raises(InputError, match="only a trace has times"):
        Workload(RandomPrompts(1), Replay(), output_len=1, num_prompts=1)


def test_a_sweep_file_says_it_so() -> None:
    text = """
        num_prompts = 50
        seed = 3
        output_len = {kind = "uniform", low = 5, high = 15}
        prompts = {kind = "shared_prefix", prefix_len = 20, num_prefixes = 3, share = 0.7, input_len = 30}
        arrivals = {kind = "open_loop", request_rate = 20, burstiness = 0.5}
        sampling = {temperature = 0.7, stream = true}
    """
    described = msgspec.convert(tomllib.loads(text), Workload)
    prefixed = SharedPrefix(prefix_len=20, input_len=30, num_prefixes=3, share=0.7)
    assert described == msgspec.structs.replace(DESCRIPTION, prompts=prefixed, sampling=Sampling(0.7, stream=True))


def test_parameters_with_seeds_of_their_own_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made = type("SamplingParams", (), {"__init__": lambda self, **given: vars(self).update(given)})
    kinds = SimpleNamespace(RequestOutputKind=SimpleNamespace(DELTA=1, FINAL_ONLY=2))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=made))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", kinds)
    plan = make_plan(Workload(RandomPrompts(4), output_len=2, num_prompts=2, sampling=Sampling(temperature=1.0)))
    first, second = (session.requests[0] for session in plan.sessions)
    drawn, shared = sampling_parameters(plan), sampling_parameters(plan, seeded=False)
    assert drawn(first).seed != drawn(second).seed
    assert shared(first) is shared(second)
    kept = weakref.ref(drawn(first))
    assert kept() is None
