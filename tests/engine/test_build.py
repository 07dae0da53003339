"""The arguments of `vllm.LLM` from a description, and its failures as one sentence."""

import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from engine_probe.engine import build
from engine_probe.engine.build import build_llm, check_model, llm_arguments, max_context, model_geometry
from engine_probe.engine.cpu import cpu_kv_pool
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.failures import startup_error
from engine_probe.engine.models.catalogue import catalogue_folder
from engine_probe.errors import InputError, UnavailableError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)


class TestWhatVllmIsCalledWith:
    def test_a_geometry_has_dummy_weights_and_no_tokenizer(self) -> None:
        assert llm_arguments(EngineSpec("gpt2-xl")) == {
            "model": str(catalogue_folder("gpt2-xl")),
            "load_format": "dummy",
            "skip_tokenizer_init": True,
        }

    def test_what_the_user_says_wins(self) -> None:
        arguments = llm_arguments(EngineSpec("gpt2-xl", {"load_format": "auto", "tokenizer": "there"}))
        assert arguments["load_format"] == "auto"
        assert "skip_tokenizer_init" not in arguments

    def test_a_context_that_vllm_would_misread_is_told_beside_the_publishers_file(self) -> None:
        arguments = llm_arguments(EngineSpec("mistral-7b-128k"))
        assert arguments["hf_overrides"] == {"max_position_embeddings": 131072}

    def test_the_users_overrides_join_the_catalogues_and_win(self) -> None:
        theirs = {"num_hidden_layers": 2}
        joined = llm_arguments(EngineSpec("mistral-7b-128k", {"hf_overrides": theirs}))["hf_overrides"]
        assert joined == {"max_position_embeddings": 131072, "num_hidden_layers": 2}
        theirs = {"max_position_embeddings": 4096}
        assert llm_arguments(EngineSpec("mistral-7b-128k", {"hf_overrides": theirs}))["hf_overrides"] == theirs

    def test_tiny_is_made_on_the_way(self, tmp_path: Path) -> None:
        folder = Path(str(llm_arguments(EngineSpec("tiny"))["model"]))
        assert folder.is_relative_to(tmp_path)
        assert (folder / "model.safetensors").is_file()

    def test_an_organisations_model_goes_to_vllm_as_it_is(self) -> None:
        assert llm_arguments(EngineSpec("org/name", {"seed": 1})) == {"model": "org/name", "seed": 1}

    @pytest.mark.lengthy
    def test_a_wrong_argument_is_refused_before_anything_is_prepared(self, tmp_path: Path) -> None:
        pytest.importorskip("transformers")
        with pytest.raises(InputError, match="did you mean max_num_seqs"):
            llm_arguments(EngineSpec("tiny", {"max_num_seq": 1}))
        assert not (tmp_path / "cache").exists()


class TestThePoolInBytes:
    """The pool's size is set only on the CPU build, and only if the user has not set it."""

    @pytest.fixture(autouse=True)
    def _on_the_cpu_build(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu_kv_pool, "cpu_build", lambda: True)

    def test_blocks_become_bytes(self) -> None:
        arguments = llm_arguments(EngineSpec("tiny", {"num_gpu_blocks_override": 64, "block_size": 32}))
        assert arguments["kv_cache_memory_bytes"] == 64 * 32 * (2 * 2 * 2 * 32 * 2)

    def test_the_default_block_has_128_tokens(self) -> None:
        arguments = llm_arguments(EngineSpec("tiny", {"num_gpu_blocks_override": 2, "kv_cache_dtype": "fp8"}))
        assert arguments["kv_cache_memory_bytes"] == 2 * 128 * (2 * 2 * 2 * 32)

    def test_overridden_layers_count(self) -> None:
        given = {"num_gpu_blocks_override": 1, "block_size": 32, "hf_overrides": {"n_layer": 2}}
        assert llm_arguments(EngineSpec("gpt2-xl", given))["kv_cache_memory_bytes"] == 32 * (2 * 2 * 25 * 64 * 2)

    @pytest.mark.parametrize("told", [{"gpu_memory_utilization": 0.5}, {"kv_cache_memory_bytes": 7}])
    def test_what_was_said_stays(self, told: dict[str, object]) -> None:
        arguments = llm_arguments(EngineSpec("tiny", {"num_gpu_blocks_override": 64, **told}))
        assert arguments.get("kv_cache_memory_bytes") == told.get("kv_cache_memory_bytes")

    def test_on_a_gpu_build_nothing_is_added(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu_kv_pool, "cpu_build", lambda: False)
        assert "kv_cache_memory_bytes" not in llm_arguments(EngineSpec("tiny", {"num_gpu_blocks_override": 64}))

    def test_an_unknown_geometry_is_left_to_vllm(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba"}))
        arguments = llm_arguments(EngineSpec(str(tmp_path), {"num_gpu_blocks_override": 64}))
        assert "kv_cache_memory_bytes" not in arguments


class TestModelsThatCannotBe:
    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("smollm3", "unknown model 'smollm3': did you mean smollm2"),
            ("llama-3-9b", "did you mean llama-3-8b"),
            ("zzz", "the listed models are deepseek-llm-7b-chat"),
            ("./nowhere", "there is no such folder"),
            ("/nowhere/at/all", "there is no such folder"),
        ],
    )
    def test_a_wrong_name_is_refused_with_the_way_out(self, name: str, sentence: str) -> None:
        with pytest.raises(InputError, match=sentence):
            check_model(name)

    def test_a_folder_without_a_configuration_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"has no config\.json: give the folder that holds it"):
            check_model(str(tmp_path))

    def test_known_names_and_real_folders_pass(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}")
        for name in ("tiny", "smollm2", "gpt2-xl", "org/name", str(tmp_path)):
            check_model(name)


class TestStarting:
    """Use a fake vLLM of one class, so that no engine starts."""

    @pytest.fixture
    def vllm(self, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
        module = ModuleType("vllm")
        monkeypatch.setattr(module, "LLM", dict, raising=False)
        monkeypatch.setitem(sys.modules, "vllm", module)
        monkeypatch.delitem(sys.modules, "vllm.envs", raising=False)
        monkeypatch.setattr(build, "check_arguments", lambda arguments: None)
        monkeypatch.setattr(cpu_kv_pool, "cpu_build", lambda: False)
        monkeypatch.setenv(build.MULTIPROCESSING, "as the user had it")
        return module

    @pytest.mark.parametrize(("multiprocess", "value"), [(False, "0"), (True, "1")])
    @pytest.mark.usefixtures("vllm")
    def test_the_process_is_chosen_before_vllm_looks(self, multiprocess: bool, value: str) -> None:
        built = build_llm(EngineSpec("org/name", {"seed": 3}), multiprocess=multiprocess)
        assert built == {"model": "org/name", "seed": 3}
        assert os.environ[build.MULTIPROCESSING] == value

    @pytest.mark.usefixtures("vllm")
    def test_a_vllm_that_has_made_up_its_mind_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        settled = ModuleType("vllm.envs")
        monkeypatch.setattr(settled, "VLLM_ENABLE_V1_MULTIPROCESSING", True, raising=False)
        monkeypatch.setitem(sys.modules, "vllm.envs", settled)
        with pytest.raises(UnavailableError, match="start a fresh process with VLLM_ENABLE_V1_MULTIPROCESSING=0"):
            build_llm(EngineSpec("org/name"))

    def test_a_failure_is_one_sentence_and_keeps_its_cause(
        self, vllm: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**arguments: object) -> None:
            raise RuntimeError("first line\n\nno memory left\n")

        monkeypatch.setattr(vllm, "LLM", fail)
        with pytest.raises(UnavailableError, match=r"^vLLM could not start org/name: no memory left$") as caught:
            build_llm(EngineSpec("org/name"))
        assert isinstance(caught.value.__cause__, RuntimeError)

    def test_no_vllm_is_said_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "vllm", None)
        monkeypatch.setattr(build, "check_arguments", lambda arguments: None)
        monkeypatch.delitem(sys.modules, "vllm.envs", raising=False)
        monkeypatch.setenv(build.MULTIPROCESSING, "0")
        with pytest.raises(UnavailableError, match=r"install engine-probe\[cuda\]"):
            build_llm(EngineSpec("org/name"))


def named(name: str, message: str = "x") -> Exception:
    """An exception of another library, known here by the name of its class."""
    return type(name, (Exception,), {})(message)


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


PYDANTIC = """1 validation error for CacheConfig
cache_dtype
  Input should be 'auto' or 'fp8' [type=literal_error, input_value='fp9', input_type=str]
    For further information visit https://errors.example/literal_error"""


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (
            caused(OSError("no"), named("LocalEntryNotFoundError")),
            UnavailableError,
            "its hub cannot be reached: give a local folder",
        ),
        (OSError("We couldn't connect to the hub"), UnavailableError, "its hub cannot be reached"),
        (
            caused(OSError("no"), named("RepositoryNotFoundError")),
            InputError,
            "unknown to the hub: check the name",
        ),
        (named("GatedRepoError"), UnavailableError, "asks for a login"),
        (
            caused(RuntimeError("worker failed"), named("OutOfMemoryError", "CUDA out of memory. Tried 2 GiB")),
            UnavailableError,
            "found too little memory to start org/name: worker failed: mind the KV pool",
        ),
        (
            ValueError("No available memory for the cache blocks. Try increasing it."),
            UnavailableError,
            "vLLM found too little memory to start org/name: No available memory",
        ),
        (
            named("ValidationError", PYDANTIC),
            InputError,
            "refuses .*cache_dtype: Input should be 'auto' or 'fp8'$",
        ),
        (OSError("We couldn't connect to its server"), UnavailableError, "its hub cannot be reached"),
        (ValueError("Unsupported connector type: X"), UnavailableError, "could not start org/name: Unsupported"),
        (ValueError("a\nb"), UnavailableError, "could not start org/name: b$"),
        (TypeError("bad type"), UnavailableError, "could not start org/name: TypeError: bad type$"),
    ],
)
def test_why_an_engine_did_not_start(error: Exception, kind: type[Exception], sentence: str) -> None:
    found = startup_error("org/name", error)
    assert type(found) is kind
    with pytest.raises(kind, match=sentence):
        raise found


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 50_000, "[]", "{}", '{"model_type": "llama", "hidden_size": 8, "num_attention_heads": 0}', "\udcff"),
        '{"model_type": "gpt2", "n_embd": 8, "n_head": 1, "n_layer": 1, "vocab_size": 8, "n_positions": "many"}',
    ],
)
def test_a_configuration_that_says_nothing_of_its_context_is_vllm_s_to_judge(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    assert max_context(str(tmp_path)) is None


@pytest.mark.parametrize(("name", "tokens"), [("tiny", 4096), ("smollm2", 8192)])
def test_a_shipped_model_s_context_is_known_on_a_new_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tokens: int
) -> None:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path))
    model_geometry.cache_clear()
    assert max_context(name) == tokens
    assert list(tmp_path.iterdir()) == []
