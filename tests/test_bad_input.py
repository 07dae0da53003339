"""Wrong inputs of every command: one sentence, its exit code, nothing started and nothing left behind."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from engine_probe import cli
from engine_probe.engine.build import model_geometry
from tests.support.recordings.run_folders import ran, write_run, write_sweep

SWEEP = """question = "what?"
[engine]
model = "tiny"
[engine.arguments]
max_model_len = 512
[workload]
input_len = 16
output_len = 8
concurrency = 2
"""

# What is typed; the exit code; a part of the sentence.
# `run` and `swept` are recordings, `full` is a folder with a file in it, `nowhere` is not there.
TYPED = (
    ("swep", 2, "there is no command swep: did you mean sweep?"),
    ("--bogus", 2, "--bogus"),
    # profile
    ("profile --model tiny --burstiness nan", 2, "--burstiness is nan: give a finite number above 0"),
    ("profile --model tiny --request-rate 3 --burstiness inf", 2, "--burstiness is inf: give a finite number above 0"),
    ("profile --model tiny --burstiness -1", 2, "burstiness"),
    ("profile --model tiny --request-rate nan", 2, "--request-rate is nan: give a number above 0"),
    ("profile --model tiny --request-rate 0", 2, "request-rate"),
    ("profile --model tiny --input-len 0", 2, "input-len"),
    ("profile --model tiny --input-len nan", 2, "input-len"),
    ("profile --model tiny --input-len 100000000000000", 2, "more than what tiny takes = 4096"),
    ("profile --model tiny --output-len 4000", 2, "input_len + output_len is 4128, more than what tiny takes = 4096"),
    ("profile --model tiny --output-len 500 --max-model-len 512", 2, "is 628, more than max_model_len = 512"),
    ("profile --model some/model --input-len 100000000000000", 2, "do not fit into the"),
    ("profile --model tiny --num-prompts 0", 2, "num-prompts"),
    ("profile --model tiny --num-prompts 99999999999999999999", 2, "ask for fewer (num_prompts)"),
    ("profile --model tiny --max-concurrency -2", 2, "max-concurrency"),
    ("profile --model tiny --seed 99999999999999999999", 2, "seed"),
    ("profile --model tiny --max-model-len nan", 2, "max_model_len is NaN"),
    ("profile --model tiny --max-model-len 1000000", 2, "more than tiny takes: give at most 4096"),
    ("profile --model tiny --gpu-memory-utilization nan", 2, "gpu_memory_utilization is nan"),
    ("profile --model tiny --gpu-memory-utilization 7", 2, "gpu_memory_utilization is 7, a share"),
    ("profile --model tiny --max-num-seqs -4", 2, "max_num_seqs is -4: vLLM takes 1 or more"),
    ("profile --model tiny --block-size 0", 2, "block_size is 0: vLLM takes 1 or more"),
    (
        "profile --model tiny --block-size 32 --num-gpu-blocks-override 3",
        2,
        "needs 256 KV tokens and the pool holds 64",
    ),
    ("sweep smoke --set axes=5", 2, "axes is 5, expected a table"),
    ("sweep smoke --model tiny --set axes=[1] --set repeats=1", 2, "axes is [1], expected a table"),
    ("sweep smoke --set workload..seed=5", 2, "--set workload..seed=5: give it as name=value"),
    ("sweep smoke --set .=5", 2, "--set .=5: give it as name=value"),
    ("sweep smoke --set engine.twin.engines.x=5", 2, "twin is not what sweep --twin writes: "),
    (
        "sweep smoke --set 'engine.environment.VLLM_X=[0, \"0\"]'",
        2,
        "VLLM_X 0, 1 of 2' are the same point: leave one of the two out",
    ),
    (
        """sweep saturation --set 'adaptive={axis="workload.hold",from=1,to=8}'""",
        2,
        "adaptive.axis is workload.hold, from 1 to 8: workload.hold cannot be 1: name a load",
    ),
    (
        """sweep saturation --set 'adaptive={axis="workload.output_len",from=8,to=9999}'""",
        2,
        "adaptive.axis is workload.output_len, from 8 to 9999: ",
    ),
    ("profile --model tinny", 2, "unknown model 'tinny': did you mean tiny? (or give a folder or org/name)"),
    ("profile --model /no/such", 2, "there is no such folder"),
    ("profile --model tiny --blok-size 32", 2, "did you mean --block-size"),
    ("profile --model tiny stray", 2, "stray"),
    ("profile --model tiny --out full", 2, "full already holds something and is never overwritten"),
    ("profile --model tiny --out README.md/x", 2, "cannot write to README.md/x: Not a directory"),
    ("profile --model tiny --out -", 2, "standard output cannot hold"),
    ("profile --model tiny --out foo://bar", 2, "give a URI that pyarrow.fs opens, or a folder"),
    # perplexity
    ("perplexity --model tiny", 2, "--text"),
    ("perplexity --model tiny --text nowhere.txt", 2, "there is no such file"),
    ("perplexity --model tiny --text binary", 2, "is binary, not text"),
    ("perplexity --model tiny --text README.md", 2, "too few for one window of 2,048 tokens"),
    ("perplexity --model tiny --text long.txt --window 4096", 2, "give at most 4,095"),
    ("perplexity --model tiny --text long.txt --window 64 --overlap 64", 2, "nothing new is left in a window"),
    ("perplexity --model tiny --text long.txt --window 64 --out full", 2, "never overwritten"),
    # sweep
    ("sweep smoke --model tinny", 2, "engine_probe: unknown model 'tinny': did you mean tiny?"),
    ("sweep smok", 2, "there is no sweep 'smok': did you mean smoke?"),
    ("sweep full", 2, "full holds no sweep.json, so no sweep was written there"),
    ("sweep binary", 2, "binary"),
    ("sweep --resume nowhere", 2, "--resume nowhere: there is no such folder"),
    ("sweep --resume run", 2, "--resume run: it holds no sweep.json, so no sweep was written there"),
    ("sweep smoke --resume run", 2, "--resume run: it holds no sweep.json, so no sweep was written there"),
    ("sweep --resume full", 2, "--resume full: it holds no sweep.json"),
    ("sweep --resume swept --out new", 2, "--resume and --out are both given"),
    ("sweep smoke --out -", 2, "standard output cannot hold"),
    ("sweep smoke --set workload.output_len", 2, "give it as name=value"),
    ("sweep smoke --set workload.output_len=nan", 2, "workload.output_len is nan: give a finite number"),
    ("sweep smoke --ray nonsense:1x", 2, "give auto, local or HOST:PORT"),
    ("sweep smoke --dry-run --like nowhere", 2, "--like nowhere: there is no such folder"),
    # report
    ("report README.md", 2, "README.md is a file but not a report of validate"),
    ("report full", 2, "full holds no run.json"),
    ("report nowhere", 2, "nowhere: there is no such folder: give the folder"),
    ("report run --cost-per-hour 2.5XYZQ", 2, "XYZQ is not a currency"),
    ("report run --cost-per-hour nan", 2, "give a sum that is not negative, as 2.5 or 2.5EUR"),
    (f"report run --cost-per-hour {'9' * 400}", 2, "give a sum that is not negative, as 2.5 or 2.5EUR"),
    ("report run --cost-per-hour 2EUR --price-per-million 3USD", 2, "prices are in EUR and USD"),
    ("report run --money nowhere", 2, "there is no price list 'nowhere'"),
    ("report run --money prices.toml", 2, "prices.toml: fixed[0].per_hour"),
    ("report run --html README.md", 2, "README.md exists already and is never overwritten"),
    ("report run --html nowhere/page.html", 2, "there is no folder nowhere"),
    ("report run --html - --json -", 2, "- is named twice"),
    ("report run --markdown README.md", 2, "README.md exists already and is never overwritten"),
    ("report README.md --markdown report.md", 2, "README.md is neither a run nor a sweep: leave --markdown out"),
    ("report run --goodput ttft:nan", 2, "nan is not a limit"),
    (
        "report run --goodput-percentile nan",
        2,
        "--goodput-percentile is nan: give a finite number of at least 50 and below 100",
    ),
    ("report run --score scores.csv", 2, "run is a single run: name a sweep's folder"),
    ("report swept --reference nowhere", 2, "--reference nowhere: no such file"),
    # compare, trace, export
    ("compare run", 2, "name a second folder"),
    ("compare run README.md", 2, "README.md is not a folder"),
    ("compare run swept", 2, "run is a run and swept a sweep: compare two of the same kind"),
    ("compare run run --fail-if 'output_tokens_per_s < nan%'", 2, "is not a bound"),
    ("compare run run --format xml", 2, "xml"),
    ("trace README.md", 2, "README.md is not a folder"),
    ("trace run --out full", 2, "full exists already and is never overwritten"),
    ("export run", 2, "--out"),
    ("export run --out README.md", 2, "README.md is a file and is never overwritten"),
    ("export run --out -", 2, "standard output cannot hold"),
    ("export run --to fpm --out new.jsonl", 2, "--out new.jsonl does not end with .jsonl.gz"),
    ("export full --out new", 2, "full holds no run.json"),
    ("export run --out new --goodput ttft:3", 2, "--goodput is for --to vllm-bench-serve"),
    # validate, overhead, models, doctor
    ("validate --only nowhere", 2, "is not a test"),
    ("validate --tolerance nan", 2, "--tolerance is nan: give a finite number above 0 and at most 100"),
    ("validate --device x", 2, "--device is"),
    ("validate --json -", 2, "name a new file"),
    ("validate --baseline README.md", 2, "README.md is not a report of kernels_bench"),
    ("overhead --pairs 1", 2, "pairs"),
    ("overhead --json -", 2, "name a new file"),
    ("overhead --json nowhere/x", 2, "there is no folder nowhere"),
    ("models stray", 2, "stray"),
    ("doctor --bogus", 2, "--bogus"),
)

# What stands in a sweep file in place of a line of SWEEP, or behind it; a part of the sentence.
WRITTEN = (
    ("input_len = 16", "input_len = nan", "workload.input_len is nan: give a finite number"),
    ("input_len = 16", "input_len = -1", "workload.input_len is -1"),
    ("input_len = 16", "input_len = 505", "input_len + output_len is 513, more than max_model_len = 512"),
    ("input_len = 16", "input_len = 99999999999999999999", "workload.input_len is an integer of more than 64 bits"),
    ("input_len = 16", 'input_len = {kind = "lognormal", median = 5, sigma = inf, high = 9}', "sigma is inf"),
    ("max_model_len = 512", "gpu_memory_utilization = inf", "gpu_memory_utilization is inf"),
    ("max_model_len = 512", "hf_overrides = {rope_theta = nan}", "hf_overrides.rope_theta is nan"),
    ("", "seed = 99999999999999999999", "workload.seed is an integer of more than 64 bits"),
    ("", "sampling = {temperature = inf}", "workload.sampling.temperature is inf: give a finite number"),
    ("", 'arrivals = {kind = "open_loop", request_rate = nan}', "workload.arrivals.request_rate is nan"),
    ("", 'arrivals = {kind = "open_loop", request_rate = 2, burstiness = inf}', "workload.arrivals.burstiness is inf"),
    ("", 'prompts = {kind = "shared_prefix", prefix_len = 2, input_len = 3, share = nan}', "prompts.share is nan"),
    ("", "extra = 1", "workload.extra is not known"),
    ("", '[axes]\n"workload.concurrency" = [1, inf]', 'axes["workload.concurrency"][1] is inf: give a finite number'),
    ("", "[stop]\nseconds = inf", "stop.seconds is inf: give a finite number"),
    ("", "[warm_up]\nseconds = nan", "warm_up.seconds is nan: give a finite number"),
    ("", '[quality]\ntext = "long.txt"\nwindow = 99999', "quality.window is 99,999 tokens"),
    ("", '[adaptive]\naxis = "workload.concurrency"\nfrom = 1\nto = nan', "adaptive.to is nan: give a finite number"),
    (
        "input_len = 16",
        'prompts = {kind = "dataset", path = "nowhere.json", format = "sharegpt"}',
        "there is no file nowhere.json",
    ),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind, of which each test has a copy."""
    place = tmp_path_factory.mktemp("files")
    write_run(place / "run", ran(4))
    write_sweep(place / "swept", (1, 2))
    (place / "full").mkdir()
    (place / "full" / "file").write_text("mine")
    (place / "README.md").write_text("# A project\n")
    (place / "binary").write_bytes(b"\0\1\2")
    (place / "long.txt").write_text("word " * 2000)
    (place / "prices.toml").write_text('currency = "EUR"\n[[fixed]]\nname = "rent"\nper_hour = nan\n')
    return place


@pytest.fixture
def folder(
    files: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working folder with files of every kind and an empty cache; no process can be started, nothing measured."""

    def never(*_: object, **__: object) -> NoReturn:
        pytest.fail("something was started")

    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path_factory.mktemp("empty_cache")))  # as on a new machine
    model_geometry.cache_clear()
    monkeypatch.setattr(subprocess.Popen, "__init__", never)
    monkeypatch.setattr("kernels_bench.run.device_tests.run", never)
    monkeypatch.setattr("engine_probe.overhead.probe.run", never)
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(files, tmp_path, dirs_exist_ok=True))


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Type the line; return the exit code and the sentence."""
    before = contents(folder)
    monkeypatch.setattr(sys, "argv", ["engine_probe", *shlex.split(line)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("engine_probe: ")
    assert "Traceback" not in said.err
    assert contents(folder) == before
    assert isinstance(end.value.code, int)
    return end.value.code, said.err


@pytest.mark.parametrize(("line", "code", "sentence"), TYPED)
def test_what_is_typed_wrong_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    code: int,
    sentence: str,
) -> None:
    exit_code, said = refused(line, folder, monkeypatch, capsys)
    assert sentence in said
    assert exit_code == code


@pytest.mark.parametrize(("line", "instead", "sentence"), WRITTEN)
def test_what_is_written_wrong_in_a_sweep_file_is_one_sentence(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    instead: str,
    sentence: str,
) -> None:
    (folder / "wrong.toml").write_text(SWEEP.replace(line, instead) if line else f"{SWEEP}{instead}\n")
    exit_code, said = refused("sweep wrong.toml", folder, monkeypatch, capsys)
    assert sentence in said
    assert exit_code == 2
