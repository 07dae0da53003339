"""An engine's description is frozen, comparable and the same in every process."""

import pickle
import subprocess
import sys
from typing import Any

import pytest

from engine_probe.engine.engine_spec import EngineSpec


def test_the_order_of_arguments_does_not_matter() -> None:
    one = EngineSpec("tiny", {"max_num_seqs": 4, "block_size": 32})
    other = EngineSpec("tiny", {"block_size": 32, "max_num_seqs": 4})
    assert one == other
    assert one.key == other.key
    assert len({one, other}) == 1


def test_every_difference_changes_the_key() -> None:
    specs = [
        EngineSpec("tiny"),
        EngineSpec("smollm2"),
        EngineSpec("tiny", {"seed": 0}),
        EngineSpec("tiny", {"seed": 1}),
        EngineSpec("tiny", {"seed": "1"}),
        EngineSpec("tiny", {"enforce_eager": True}),
        EngineSpec("tiny", {"hf_overrides": {"num_hidden_layers": 1}}),
        EngineSpec("tiny", environment={"VLLM_BATCH_INVARIANT": "1"}),
        EngineSpec("tiny", environment={"VLLM_BATCH_INVARIANT": "0"}),
    ]
    assert len({spec.key for spec in specs}) == len(specs)


def test_nobody_changes_it_afterwards() -> None:
    mine = {"hf_overrides": {"num_hidden_layers": 1}}
    spec = EngineSpec("tiny", mine)
    before = spec.key
    mine["hf_overrides"]["num_hidden_layers"] = 2
    assert spec.key == before
    held: Any = spec
    with pytest.raises(TypeError):
        held.arguments["seed"] = 1
    with pytest.raises(AttributeError):
        held.model = "other"


def test_it_travels_to_another_process_and_keeps_its_key() -> None:
    spec = EngineSpec("tiny", {"seed": 0, "hf_overrides": {"b": [1, 2], "a": None}})
    assert pickle.loads(pickle.dumps(spec)) == spec
    program = (
        "from engine_probe.engine.engine_spec import EngineSpec;"
        "print(EngineSpec('tiny', {'hf_overrides': {'a': None, 'b': [1, 2]}, 'seed': 0}).key)"
    )
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == spec.key


def test_a_class_counts_by_its_name() -> None:
    class Executor:
        pass

    assert EngineSpec("tiny", {"e": Executor}).key == EngineSpec("tiny", {"e": Executor}).key
    assert EngineSpec("tiny", {"e": Executor}).key != EngineSpec("tiny", {"e": int}).key
