"""Engine arguments are checked against the source of the installed vLLM, which is not imported."""

import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine_probe.engine.arguments import (
    argument_names,
    argument_type,
    check_arguments,
    list_arguments,
    parse_arguments,
    short_forms,
    take_option,
)
from engine_probe.errors import InputError
from engine_probe.files.config_file import parse_value

ARG_UTILS = """
raise RuntimeError("this file is read, not run")
from vllm.config.model import DType, Many
from vllm.config.parallel import Executor
class EngineArgs:
    dtype: DType = "auto"
    method: Many = "one"
    executor: str | type[Executor] | None = None
    model: str = "x"
    max_num_seqs: int = 1
    block_size: int | None = None
    kv_cache_dtype: str = "auto"
    enforce_eager: bool = False
    enable_prefix_caching: bool = True
    hf_overrides: dict = {}
    optimization_level: Level = 2
    capture_sizes: list[int] | None = None
    served_model_name: str | list[str] | None = None
    buckets: dict[str, list[float]] | None = None
    not_a_field = 3
    def add_cli_args(parser):
        parser.add_argument("--max-num-seqs", "-mns")
        parser.add_argument("-ho", "--hf-overrides", type=parser.add_argument)
"""
DTYPE = (
    'DType = Literal["auto", "half"]\nMany = Literal["one", "two", "three", "four", "five", "six", "seven", "eight"]'
)
LLM = """
class LLM:
    def __init__(self, model, *, skip_tokenizer_init=False, **kwargs): ...
"""


@pytest.fixture
def small_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a fake vLLM of two files before any that is installed."""
    root = tmp_path / "vllm"
    for name, text in (
        ("__init__", ""),
        ("engine/arg_utils", ARG_UTILS),
        ("entrypoints/llm", LLM),
        ("config/model", DTYPE),
    ):
        file = root / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for kept in (argument_names, short_forms, list_arguments):
        kept.cache_clear()
    yield
    for kept in (argument_names, short_forms, list_arguments):
        kept.cache_clear()


@pytest.mark.usefixtures("small_vllm")
class TestWithASmallVllm:
    def test_fields_and_parameters_are_known_and_nothing_else(self) -> None:
        assert argument_names() == {
            "dtype",
            "method",
            "executor",
            "max_num_seqs",
            "block_size",
            "kv_cache_dtype",
            "enforce_eager",
            "enable_prefix_caching",
            "hf_overrides",
            "optimization_level",
            "capture_sizes",
            "served_model_name",
            "buckets",
            "skip_tokenizer_init",
        }

    def test_a_wrong_name_is_refused_with_the_nearest(self) -> None:
        with pytest.raises(InputError, match=r"kv\.toml: engine: .*max_num_seq: did you mean max_num_seqs\?"):
            check_arguments({"max_num_seq": 4}, "kv.toml: engine")

    def test_a_name_like_no_other_is_refused_too(self) -> None:
        with pytest.raises(InputError, match="no engine argument zzz: vLLM's documentation"):
            check_arguments({"zzz": 4})

    def test_the_model_is_not_an_argument(self) -> None:
        with pytest.raises(InputError, match="give it as the model itself"):
            check_arguments({"model": "tiny"})

    def test_a_command_line_becomes_names_and_values(self) -> None:
        line = "--max-num-seqs=32 --kv_cache_dtype=fp8 --enforce-eager"
        line += " --no-enable-prefix-caching --block-size=16"
        assert parse_arguments(line.split()) == {
            "max_num_seqs": 32,
            "kv_cache_dtype": "fp8",
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "block_size": 16,
        }

    def test_vllms_short_forms_are_read_off_its_parser(self) -> None:
        assert parse_arguments(["-mns=8", "-ho.rope.factor=4.0"]) == {
            "max_num_seqs": 8,
            "hf_overrides": {"rope": {"factor": 4.0}},
        }

    def test_a_dotted_name_sets_a_key_inside(self) -> None:
        tokens = ["--hf-overrides.num_hidden_layers=2", "--hf-overrides.rope.factor=4.0"]
        assert parse_arguments(tokens) == {"hf_overrides": {"num_hidden_layers": 2, "rope": {"factor": 4.0}}}

    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("-O3 --enforce-eager", {"optimization_level": 3, "enforce_eager": True}),
            ("-O 3", {"optimization_level": 3}),
            ("-O=3", {"optimization_level": 3}),
            ("--capture-sizes 1 2 4 -mns 8", {"capture_sizes": [1, 2, 4], "max_num_seqs": 8}),
            ("--capture_sizes [1,2]", {"capture_sizes": [1, 2]}),
            ("--served-model-name 1 b", {"served_model_name": ["1", "b"]}),
            ("--served-model-name a", {"served_model_name": ["a"]}),
            ("--served-model-name=a", {"served_model_name": "a"}),
        ],
    )
    def test_words_become_values_as_in_vllms_parser(self, line: str, value: dict[str, object]) -> None:
        words = line.split()
        options = []
        while words:
            options.append(take_option(words.pop(0), words))
        assert parse_arguments(options) == value

    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("-O", "there is no option -O, here or in vLLM"),
            ("--dtype", "--dtype needs a value: vLLM takes auto, half"),
            ("32", "'32' belongs to no option"),
            ("-", "'-' belongs to no option"),
            ("-tp=2", "there is no option -tp, here or in vLLM"),
            ("--max-num-seq=3", r"did you mean --max-num-seqs\?"),
            ("--max_num_seq=3", r"did you mean --max-num-seqs\?"),
            ("--no-enforce-eagre", r"did you mean --no-enforce-eager\?"),
            ("--num-prompt=3", r"did you mean --num-prompts\?"),
            ("--zzz", "engine_probe profile --help lists ours, EngineArgs vLLM's"),
            ("--model=x", "give it as the model itself"),
            ("--dtype.a=3", r"dtype is \{\}: vLLM takes auto, half"),
            ("--block-size=16 --block-size=32", "block_size was given twice: 16 and 32"),
            ("--hf-overrides=3 --hf-overrides.a=4", "hf_overrides was already given as 3"),
        ],
    )
    def test_a_wrong_command_line_is_refused(self, line: str, sentence: str) -> None:
        with pytest.raises(InputError, match=sentence):
            parse_arguments(line.split(), "profile", ["--num-prompts", "--out"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("32", 32),
        ("0.9", 0.9),
        ("1_000", 1000),
        ("true", True),
        ("False", False),
        ("None", None),
        ('{"a": [1]}', {"a": [1]}),
        ("[1, 2]", [1, 2]),
        ("['a']", ["a"]),
        ("fp8", "fp8"),
        ("2024-01-01", "2024-01-01"),
        ("a = 1", "a = 1"),
        ("/models/x", "/models/x"),
        ("", ""),
    ],
)
def test_values_are_json_or_toml_else_text(text: str, value: object) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.vllm
def test_the_installed_vllm_is_read_without_importing_it() -> None:
    if find_spec("vllm") is None:
        pytest.skip("no vLLM is installed")
    argument_names.cache_clear()
    names = argument_names()
    assert {
        "max_num_seqs",
        "num_gpu_blocks_override",
        "kv_cache_memory_bytes",
        "skip_tokenizer_init",
    } <= names
    assert len(names) > 100
    assert "self" not in names


@pytest.mark.usefixtures("small_vllm")
class TestValues:
    @pytest.mark.parametrize(
        ("name", "value", "takes"),
        [
            ("dtype", "halve", "auto, half"),
            ("method", "x", "one, two, three, four, five, six and 2 more"),
            ("max_num_seqs", 2.5, "a whole number"),
            ("max_num_seqs", True, "a whole number"),
            ("block_size", "many", "a whole number"),
            ("enforce_eager", "maybe", "true or false"),
        ],
    )
    def test_one_that_the_declaration_rules_out_is_refused(self, name: str, value: object, takes: str) -> None:
        with pytest.raises(InputError) as refused:
            check_arguments({name: value})
        assert str(refused.value) == f"engine arguments: {name} is {json.dumps(value)}: vLLM takes {takes}"

    def test_of_many_words_the_nearest_is_told(self) -> None:
        with pytest.raises(InputError, match=r'method is "thre": did you mean three\?'):
            check_arguments({"method": "thre"})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("dtype", "half"),
            ("block_size", None),
            ("block_size", 16),
            ("executor", 3),  # declared with a class: vLLM's to judge
            ("max_num_seqs", object()),  # no data: so is this
        ],
    )
    def test_any_other_is_not(self, name: str, value: object) -> None:
        check_arguments({name: value})


@pytest.mark.lengthy
def test_what_the_installed_vllm_declares_is_understood() -> None:
    pytest.importorskip("vllm")
    names = ("dtype", "kv_cache_dtype", "tensor_parallel_size", "max_num_seqs", "gpu_memory_utilization")
    assert all(map(argument_type, names))
    check_arguments({"dtype": "bfloat16", "kv_cache_dtype": "fp8", "gpu_memory_utilization": 1})
