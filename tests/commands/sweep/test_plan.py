from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tokenizers import Tokenizer

from engine_probe.commands.sweep.plan import command
from engine_probe.engine.models.catalogue import catalogue_config
from engine_probe.engine.models.embedded import embedded_model
from engine_probe.errors import InputError
from tests.support.recordings.run_folders import ran, write_run

L40S = ("--model", "llama-3.1-8b", "--device", "L40S")
PRICES = """
currency = "USD"
[[options]]
name = "L40S"
per_hour = 1.5
watts = 350
[[options]]
name = "H100"
per_hour = 4
"""


def plan(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_it_compares_gpus() -> None:
    found = plan("--model", "llama-3.1-8b", "--devices", "L4,L40S,H100,H200")
    assert found.exit_code == 0
    assert "Predicted: llama-3.1-8b" in found.output
    assert "L4 cannot start" in found.output
    for name in ("L40S", "H100 80GB HBM3", "H200"):
        assert name in found.output


def test_the_verdict_is_who_holds_the_most_requests() -> None:
    one, two = (plan("--model", "llama-3.1-8b", "--devices", names, "--json") for names in ("L40S", "L40S,H100"))
    (alone,), (_, most) = json.loads(f"[{one.output}]"), json.loads(two.output)["plans"]
    assert f"runs {alone['concurrency']:,} such requests" in plan(*L40S).output
    verdict = plan("--model", "llama-3.1-8b", "--devices", "L40S,H100").output
    assert f"H100 80GB HBM3 runs the most, {most['concurrency']:,} such requests" in verdict


def test_a_gpu_that_is_named_twice_is_planned_once() -> None:
    once, twice = (plan("--model", "llama-3.1-8b", "--devices", names) for names in ("L40S", "L40S, L40S"))
    assert (twice.exit_code, twice.output) == (0, once.output)


def test_json_has_each_term_in_bytes(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    found = plan("--model", "falcon-40b", "--device", "H100 NVL", "--tensor-parallel-size", 2, "--json", file)
    assert found.exit_code == 0
    one = json.loads(file.read_text())
    assert one["fits"] is True
    assert one["gpus"] == 2
    assert one["kv_bytes_per_token"] == 2 * 60 * 8 * 64 * 2
    assert one["kv_capacity_tokens"] > 100_000
    used = one["weights_bytes"] + one["activations_and_workspace_bytes"] + one["kv_pool_bytes"]
    assert used == pytest.approx(one["device_bytes"] * one["gpu_memory_utilization"])


def test_an_embedded_model_has_a_plan_before_it_is_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    assert "Predicted: tiny" in plan("--model", "tiny", "--device", "L4", "--input-len", 64).output


def test_json_goes_to_standard_output_alone() -> None:
    found = plan("--model", "llama-3.1-8b", "--devices", "L40S,H200", "--json")
    assert [each["device"] for each in json.loads(found.output)["plans"]] == ["L40S", "H200"]


def test_what_does_not_start_still_has_its_capacity() -> None:
    """Beside 67.7 GiB of weights the pool is too small for one request of the model's context."""
    words = ("--model", "llama-3.1-70b-fp8", "--device", "H100 NVL", "--kv-cache-dtype", "fp8", "--json")
    found = json.loads(plan(*words).output)
    assert found["fits"] is False
    assert found["concurrency"] == 0
    assert 50_000 < found["kv_capacity_tokens"] < 131_072


def test_a_page_has_the_chart(tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    assert plan("--model", "llama-3.1-8b", "--devices", "H100,H200", "--html", page).exit_code == 0
    assert "Throughput at most" in page.read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "llama-3.1-8b", "--device", "H1000"), 'memory of a GPU "H1000" is not known here'),
        (("--model", "no-such-model", "--device", "H100"), "unknown model 'no-such-model'"),
        (("--model", "org/name", "--device", "H100"), "its configuration is not on this machine"),
        (("--model", "llama-3.1-8b", "--device", ","), "--devices names no GPU"),
        (
            ("--model", "llama-3.1-8b", "--device", "H100", "--max-model-len", 100),
            "come to 768 tokens, and --max-model-len is 100",
        ),
        (("--model", "llama-3.1-8b", "--device", "H100", "--kv-cache-dtype", "int3"), "in int3 is not known here"),
        ((*L40S, "--slo", "success:99"), "--slo success:99: a plan knows limits on ttft, tpot, e2el"),
        ((*L40S, "--slo", ""), "--slo names no limit: write ttft:200 tpot:30"),
        ((*L40S, "--slo", "ttft:-1"), "--slo ttft:-1: -1 is not a limit"),
        ((*L40S, "--requests-per-second", 3), "--requests-per-second 3 chooses among GPUs: add --slo"),
        (
            (*L40S, "--max-num-seqs", 65, "--max-num-batched-tokens", 64),
            "max_num_batched_tokens = 64 is less than max_num_seqs = 65, and vLLM does not start",
        ),
        (
            (*L40S, "--max-model-len", 131_073),
            "max_model_len = 131,073 is more than its context of 131,072 tokens, and vLLM does not start",
        ),
        (
            ("--model", "gpt2-xl", "--device", "L4", "--input-len", 1000),
            "requests of 1,256 tokens are longer than its context of 1,024",
        ),
        (
            (*L40S, "--tensor-parallel-size", 3),
            "tensor_parallel_size = 3 does not divide its 32 attention heads",
        ),
        ((*L40S, "--money", "nowhere"), "there is no price list 'nowhere'"),
        ((*L40S, "--answer-lengths", "/nowhere"), "--answer-lengths /nowhere: there is no such folder or file"),
        ((*L40S, "--answer-lengths", __file__), "a file ends in .jsonl, .json or .csv"),
        ((*L40S, "--answer-lengths", __file__, "--output-len", 3), "are both given: leave one of them out"),
        ((*L40S, "--json", "plan", "--html", "plan"), "plan is named twice"),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[object, ...], sentence: str) -> None:
    found = plan(*words)
    assert isinstance(found.exception, InputError)
    assert sentence in str(found.exception)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "bart", "is_encoder_decoder": True}, "is an encoder-decoder model"),
        ({"model_type": "llama", "use_bidirectional_attention": True}, "attends to later tokens as well"),
        ({"model_type": "deepseek_v3", "kv_lora_rank": 512, "qk_rope_head_dim": 64}, "the memory of model_type"),
    ],
)
def test_a_model_whose_pool_is_not_known_is_refused(config: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 4, **config}))
    found = plan("--model", tmp_path, "--device", "H100")
    assert isinstance(found.exception, InputError)
    assert sentence in str(found.exception)


@pytest.mark.parametrize(("kv_heads", "ranks", "starts"), [(3, 2, False), (3, 3, True), (3, 6, True), (6, 4, False)])
def test_kv_heads_are_divided_or_copied_as_wholes(kv_heads: int, ranks: int, starts: bool, tmp_path: Path) -> None:
    """As vLLM's attention layers assert: one of both numbers is a multiple of the other."""
    changed = {"num_attention_heads": 24, "num_key_value_heads": kv_heads, "hidden_size": 3072}
    (tmp_path / "config.json").write_text(json.dumps({**catalogue_config("llama-3.1-8b"), **changed}))
    found = plan("--model", tmp_path, "--device", "H200", "--tensor-parallel-size", ranks)
    assert (found.exit_code == 0) == starts
    if not starts:
        assert f"tensor_parallel_size = {ranks} does not divide its {kv_heads} KV heads" in str(found.exception)


def test_a_window_lets_more_requests_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**catalogue_config("mistral-7b"), "sliding_window": 4096}))
    long = ("--model", tmp_path, "--device", "H100", "--input-len", 30_000, "--output-len", 500, "--json")
    window, full = json.loads(plan(*long).output), json.loads(plan("--model", "mistral-7b", *long[2:]).output)
    assert (window["sliding_window_tokens"], full["sliding_window_tokens"]) == (4096, None)
    assert window["kv_capacity_tokens"] == full["kv_capacity_tokens"]
    blocks = -(-(4095 + 2 * 16_384) // 16) + 1
    assert window["concurrency"] == window["kv_capacity_tokens"] // 16 // min(blocks, -(-30_500 // 16))
    assert window["tpot_at_least_s"] < full["tpot_at_least_s"]


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


def chosen(*words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan("--model", "llama-3.1-8b", *words, "--json").output)["slo"]
    return found


def test_the_cheapest_that_meets_the_limits_is_chosen(prices: Path) -> None:
    """Reading 14 GB of weights takes 16 ms on an L40S: two for 15 ms, or one H100 for 4 an hour."""
    words = ("--devices", "L40S,H100", "--slo", "ttft:1000", "tpot:15", "--money", prices)
    best = chosen(*words)["chosen"]
    assert (best["device"], best["tensor_parallel_size"], best["engines"], best["per_hour"]) == ("L40S", 2, 1, 3.0)
    more = chosen(*words, "--requests-per-second", 80)["chosen"]
    assert more["requests_per_s_at_most"] >= 80
    assert (more["device"], more["per_hour"]) == ("H100 80GB HBM3", 4.0)


def test_without_prices_the_fewest_gpus_are_chosen_and_it_says_so() -> None:
    words = ("--devices", "L40S,H100", "--slo", "tpot:15")
    best = chosen(*words)["chosen"]
    assert (best["device"], best["gpus"]) == ("H100 80GB HBM3", 1)
    assert "per_hour" not in best
    told = " ".join(plan("--model", "llama-3.1-8b", *words).output.split())
    assert "The fewest GPUs that may meet tpot:15: 1 engine (1 x H100 80GB HBM3). Their prices are not known" in told


def test_a_limit_that_nothing_meets_is_told_with_the_nearest() -> None:
    told = " ".join(plan(*L40S, "--slo", "tpot:1").output.split())
    assert "None of these GPUs meets tpot:1: alone on 8 x L40S a request takes at least" in told


def test_costs_and_energy_have_their_derivation_or_are_absent(prices: Path) -> None:
    words = ("--model", "llama-3.1-8b", "--devices", "L40S,H100,H200", "--money", prices)
    told = " ".join(plan(*words).output.split())
    assert "No price is known of H200" in told
    lacking, priced, unknown = (json.loads(plan(*words, "--json").output)["plans"][place] for place in (1, 0, 2))
    rate = priced["output_tokens_per_s_at_most"]
    assert priced["cost_of_million_output_tokens_at_least"] == pytest.approx(1.5 / 3600 / rate * 1e6)
    assert priced["joules_per_output_token_at_least"] == pytest.approx(350 / rate)
    assert "joules_per_output_token_at_least" not in lacking
    assert "per_hour" not in unknown


def test_it_says_what_to_change_where_a_model_does_not_start() -> None:
    words = ("--model", "llama-3.1-8b", "--device", "L4")
    found = json.loads(plan(*words, "--json").output)
    assert found["changes_that_fit"][0] == "tensor_parallel_size=2"
    for change in found["changes_that_fit"]:
        name, _, value = change.partition("=")
        assert json.loads(plan(*words, f"--{name.replace('_', '-')}", value, "--json").output)["fits"], change


def test_answers_are_as_long_as_recorded_ones(tmp_path: Path) -> None:
    """A recording of answers of 40 tokens, and a trace of 100 and 300."""
    run = write_run(tmp_path / "run", ran(8))
    assert json.loads(plan(*L40S, "--answer-lengths", run, "--json").output)["output_len"] == 40
    trace = tmp_path / "trace.jsonl"
    lines = [{"timestamp": 0, "input_length": 9, "output_length": length} for length in (100, 300)]
    trace.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = plan(*L40S, "--answer-lengths", trace)
    assert "with 512 tokens in and 200 out" in found.output
    assert "the longest of 2 has 300" in " ".join(found.output.split())
    refused = plan(*L40S, "--answer-lengths", trace, "--max-model-len", 800)
    assert "its longest answer has 300 tokens" in str(refused.exception)


def test_answers_are_as_long_as_those_of_a_data_set(tmp_path: Path) -> None:
    """Of 50 and 70 tokens by the file itself, or of as many as the model's tokenizer makes of its texts."""
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"prompt": "hello", "output_tokens": {length}}}\n' for length in (50, 70)))
    assert json.loads(plan(*L40S, "--answer-lengths", lines, "--json").output)["output_len"] == 60

    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "abc" * 40}]
    chats, tasks = tmp_path / "chats.json", tmp_path / "tasks.json"
    chats.write_text(json.dumps([{"conversations": talk * 2}, {"conversations": talk}]))
    tasks.write_text(json.dumps([{"instruction": "Hi", "output": "abc" * 40}]))
    on_l40s = ("--model", "tiny", "--device", "L40S", "--input-len", 64)
    counted = [json.loads(plan(*on_l40s, "--answer-lengths", file, "--json").output) for file in (chats, tasks)]
    tokenizer = Tokenizer.from_file(f"{embedded_model('tiny')}/tokenizer.json")
    assert [found["output_len"] for found in counted] == [len(tokenizer.encode("abc" * 40).ids)] * 2
    assert "the longest of 3 has" in " ".join(plan(*on_l40s, "--answer-lengths", chats).output.split())


def test_texts_need_the_models_tokenizer(tmp_path: Path) -> None:
    chats = tmp_path / "tasks.json"
    chats.write_text(json.dumps([{"instruction": "Hi", "output": "Hello."}]))
    refused = plan(*L40S, "--answer-lengths", chats)
    assert isinstance(refused.exception, InputError)
    assert "only the tokenizer of llama-3.1-8b counts the tokens of its texts" in str(refused.exception)
    without = tmp_path / "lines.jsonl"
    without.write_text('{"prompt": "hello"}\n')
    refused = plan(*L40S, "--answer-lengths", without)
    assert "does not give the length of its answers" in str(refused.exception)
