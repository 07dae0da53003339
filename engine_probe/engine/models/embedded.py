"""The models that need no hub: their names, and their folders on this machine."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine_probe.engine.models import smollm2, tiny
from engine_probe.errors import InputError
from engine_probe.files.cache_folder import cache_folder, prepared

Say = Callable[[str], None]


def silent(message: str) -> None:
    """Ignore a message."""


def tiny_folder(_: Say = silent) -> Path:
    return prepared(place_of("tiny"), tiny.write_tiny, needs_bytes=4 << 20)


def smollm2_folder(say: Say = silent) -> Path:
    return prepared(place_of("smollm2"), lambda temporary: smollm2.write_smollm2(temporary, say), smollm2.NEEDS_BYTES)


# name -> the function that prepares its folder
EMBEDDED: dict[str, Callable[[Say], Path]] = {"smollm2": smollm2_folder, "tiny": tiny_folder}


def embedded_model(name: str, say: Say = silent) -> str:
    """Return the folder of an embedded model ("tiny" or "smollm2") for `vllm.LLM`; prepare it at first use."""
    if name not in EMBEDDED:
        raise InputError(f"there is no embedded model {name!r}: give tiny (random weights) or smollm2 (trained ones)")
    return str(EMBEDDED[name](say))


def embedded_config(name: str) -> dict[str, Any]:
    """Return an embedded model's shape, which is known before its folder is prepared."""
    return dict((smollm2 if name == "smollm2" else tiny).CONFIG)


def place_of(name: str) -> Path:
    """Return where an embedded model's folder is, or will be; another recipe has another one."""
    recipe = json.dumps((smollm2 if name == "smollm2" else tiny).recipe(), sort_keys=True)
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    return cache_folder() / "models" / f"{name}-{digest[:12]}"
