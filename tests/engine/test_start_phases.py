"""The phases of an engine's start, read from what vLLM writes: real lines of a start here, and of one on a GPU."""

from __future__ import annotations

import pytest

from engine_probe.engine.start_phases import FinishedPhases, Phase, Started, Starting, StartPhases

# Seconds since the process was started, and what vLLM 0.32.0 wrote then on two cores without a GPU.
ON_A_CPU = (
    (9, "Triton is installed, but doesn't include CPU backend. Disabling Triton.\n"),
    (11, "(MainProcess pid=5498) INFO 11-28 13:47:37 [model.py:733] Resolved architecture: LlamaForCausalLM\n"),
    (11, "(MainProcess pid=5498) INFO 11-28 13:47:37 [model.py:2152] Using max model len 512\n"),
    (12, "(MainProcess pid=5498) INFO 11-28 13:47:37 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with\n"),
    (13, "(MainProcess pid=5498) INFO 11-28 13:47:38 [cpu_model_runner.py:68] Starting to load model /tiny...\n"),
    (13, "Loading safetensors checkpoint shards:   0% Completed | 0/1 [00:00<?, ?it/s]\n"),
    (14, "Loading safetensors checkpoint shards: 100% Completed | 1/1 [00:00<00:00, 242.39it/s]\n"),
    (14, "(MainProcess pid=5498) INFO 11-28 13:47:38 [default_loader.py:501] Loading weights took 0.01 seconds\n"),
    (15, "(MainProcess pid=5498) INFO 11-28 13:47:39 [utils.py:347] Using LBHNC KV cache layout.\n"),
    (15, "(MainProcess pid=5498) INFO 11-28 13:47:39 [cpu_model_runner.py:87] Warming up model for the comp"),
    (15, "ilation...\n"),
    (59, "(MainProcess pid=5498) INFO 11-28 13:48:23 [monitor.py:91] [backbone] Initial profiling/warmup run took\n"),
    (60, "(MainProcess pid=5498) INFO 11-28 13:48:24 [cpu_model_runner.py:91] Warming up done.\n"),
    (60, "(MainProcess pid=5498) INFO 11-28 13:48:24 [core.py:402] init engine (profile, create kv cache, warmup mo"),
    (61, "del) took 44.83 s\n"),
)
# As the source of vLLM 0.33.0 words them for a GPU; tqdm goes back to the beginning of its line.
ON_A_GPU = (
    (8, "(APIServer pid=9) INFO 11-28 13:47:37 [startup.py:233] non-default args: {'model': 'm'}\n"),
    (10, "(EngineCore pid=12) INFO 11-28 13:47:39 [core.py:133] Initializing a V1 LLM engine (v0.33.0) with\n"),
    (12, "(EngineCore pid=12) INFO 11-28 13:47:41 [gpu_model_runner.py:5039] Starting to load model m...\n"),
    (13, "\rLoading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:01,  1.5it/s]\r"),
    (16, "(EngineCore pid=12) INFO 11-28 13:47:45 [default_loader.py:501] Loading weights took 2.91 seconds\n"),
    (17, "(EngineCore pid=12) INFO 11-28 13:47:46 [gpu_model_runner.py:5150] Model loading took 14.99 GiB memory\n"),
    (
        18,
        "(EngineCore pid=12) INFO 11-28 13:47:47 [backends.py:1167] [backbone] Dynamo bytecode transform time: 5 s\n",
    ),
    (40, "(EngineCore pid=12) INFO 11-28 13:48:09 [monitor.py:62] [backbone] torch.compile took 22.1 s in total\n"),
    (44, "(EngineCore pid=12) INFO 11-28 13:48:13 [gpu_worker.py:759] Available KV cache memory: 104.2 GiB\n"),
    (45, "\rCapturing CUDA graphs (mixed prefill-decode, PIECEWISE):  25%|██▌       | 17/67 [00:01<00:03, 14.1it/s]"),
    (46, "\rCapturing CUDA graphs (decode, FULL):  80%|████████  | 28/35 [00:02<00:00, 13.1it/s]"),
    (47, "\n(EngineCore pid=12) INFO 11-28 13:48:16 [gpu_model_runner.py:6581] Graph capturing finished in 3 secs\n"),
    (49, "(EngineCore pid=12) INFO 11-28 13:48:18 [core.py:402] init engine (profile, create kv cache) took 32 s\n"),
)


def read(lines: tuple[tuple[int, str], ...], until: float = 1e9) -> StartPhases:
    phases = StartPhases(now=0)
    for second, text in lines:
        if second <= until:
            phases.read(text, second)
    return phases


def test_a_start_on_a_cpu() -> None:
    assert read(ON_A_CPU).started(62) == Started(
        (
            Phase("importing vLLM", 11),
            Phase("reading the configuration", 1),
            Phase("preparing the device", 1),
            Phase("loading weights", 1),
            Phase("preparing the weights", 1),
            Phase("profiling memory", 0),
            Phase("compiling", 45),
            Phase("allocating the KV cache", 1),
            Phase("preparing the tokenizer", 1),
        ),
        seconds=62,
    )


def test_a_start_on_a_gpu() -> None:
    started = read(ON_A_GPU).started(50)
    assert {phase.name: phase.seconds for phase in started.phases} == {
        "importing vLLM": 8,
        "reading the configuration": 2,
        "preparing the device": 2,
        "loading weights": 4,
        "preparing the weights": 1,
        "profiling memory": 1 + 4,  # the profile run goes on once the compiler is done
        "compiling": 22,
        "allocating the KV cache": 1,
        "capturing CUDA graphs": 2,
        "warming up": 2,
        "preparing the tokenizer": 1,
    }
    assert sum(phase.seconds for phase in started.phases) == started.seconds


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (7, "importing vLLM 7 s"),
        (14, "loading weights 50%, 2 s"),
        (30, "compiling 12 s"),
        (45, "capturing CUDA graphs 25%, 0 s"),
        (46, "capturing CUDA graphs 80%, 1 s"),
        (48, "warming up 1 s"),
    ],
)
def test_the_phase_under_way_is_told_with_its_share(second: float, words: str) -> None:
    assert read(ON_A_GPU, until=second).starting(second).words == words


def test_a_line_that_is_not_known_changes_nothing() -> None:
    phases = read(ON_A_CPU, until=20)
    before = phases.starting(21)
    phases.read("Some 50%| new words about weights, graphs and compiling\n", 21)
    assert phases.starting(21) == before


def test_a_second_rank_that_loads_its_weights_later_is_counted_on() -> None:
    phases = StartPhases(now=0)
    for second, line in enumerate(["Starting to load model m...", "Loading weights took 1.0 seconds"] * 2):
        phases.read(f"(Worker pid={second}) INFO [x.py:1] {line}\n", second)
    assert phases.starting(4).finished == (Phase("importing vLLM", 0), Phase("loading weights", 2))


def test_a_phase_that_begins_again_moves_behind_those_it_comes_after() -> None:
    phases = StartPhases(now=0)
    for second, name in enumerate(["converting smollm2 (once)", "importing vLLM", "loading weights"], start=2):
        phases.enter(name, second)
    assert phases.starting(9).finished == (Phase("converting smollm2 (once)", 1), Phase("importing vLLM", 3))


def test_each_phase_is_told_once_when_it_has_ended_and_short_ones_never() -> None:
    finished = FinishedPhases()
    told = []
    for second in range(62):
        now: Starting = read(ON_A_CPU, until=second).starting(second)
        if phase := finished.ended(now):
            told.append(phase.words)
    assert told == [
        "importing vLLM 11 s",
        "reading the configuration 1 s",
        "preparing the device 1 s",
        "loading weights 1 s",
        "preparing the weights 1 s",
        "compiling 45 s",
        "allocating the KV cache 1 s",
    ]
