"""vLLM's tests, from its source package, and the one model configuration that they ask the hub for."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from engine_probe.files.cache_folder import cache_folder, prepared

PACKAGE_BYTES = 400 << 20  # while it is unpacked
# pip asks every source package for its metadata, and vLLM's set-up imports these.
SET_UP = ("setuptools-rust", "setuptools-scm")
OPT_125M = {
    "architectures": ["OPTForCausalLM"],
    "model_type": "opt",
    "hidden_size": 768,
    "word_embed_proj_dim": 768,
    "ffn_dim": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 2048,
    "vocab_size": 50272,
    "do_layer_norm_before": True,
    "activation_function": "relu",
    "bos_token_id": 2,
    "eos_token_id": 2,
    "pad_token_id": 1,
    "torch_dtype": "float16",
}


def upstream_tests(version: str) -> Path:
    """Return a folder with vLLM's `tests/` and a hub cache in `hub/`; downloaded the first time."""

    def build(folder: Path) -> None:
        with (
            TemporaryDirectory(dir=folder.parent) as temporary,
            tarfile.open(download(version, Path(temporary))) as source,
        ):
            root = f"vllm-{version}/"
            # Without the package itself: its egg-info would hide that the installed build is one for the CPU.
            wanted = [member for member in source.getmembers() if member.name.startswith((f"{root}tests/",))]
            for member in wanted:
                member.name = member.name.removeprefix(root)
            source.extractall(folder, wanted, filter="data")
        (folder / "tests" / "conftest.py").unlink()  # fixtures for models, which need packages that nothing here uses
        model = folder / "hub" / "hub" / "models--facebook--opt-125m"
        (model / "refs").mkdir(parents=True)
        (model / "refs" / "main").write_text("local")
        (model / "snapshots" / "local").mkdir(parents=True)
        (model / "snapshots" / "local" / "config.json").write_text(json.dumps(OPT_125M))

    return prepared(cache_folder() / "versions" / f"vllm-{version}-tests", build, PACKAGE_BYTES)


def download(version: str, folder: Path) -> Path:
    """Return the source package of one version."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--target", str(folder / "set-up"), *SET_UP], check=True, capture_output=True)
    environment = os.environ | {
        "PYTHONPATH": str(folder / "set-up"),
        "VLLM_TARGET_DEVICE": "empty",
        "VLLM_VERSION_OVERRIDE": version,
    }
    command = [*pip, "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder)]
    subprocess.run([*command, f"vllm=={version}"], check=True, env=environment)
    (package,) = folder.glob("*.tar.gz")
    return package
