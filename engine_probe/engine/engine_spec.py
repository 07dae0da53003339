"""The description of an engine: a model's name, vLLM's arguments, and the variables of its environment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, eq=False)
class EngineSpec:
    """Describes an engine; making one reads no disk, environment or vLLM.

    `model` is an embedded model, a geometry of the catalogue, a folder or any name that vLLM takes; `arguments` are
    engine arguments by vLLM's names; `environment` has variables that vLLM reads, such as VLLM_BATCH_INVARIANT.
    """

    model: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = {name: _copy(self.arguments[name]) for name in sorted(self.arguments)}
        object.__setattr__(self, "arguments", MappingProxyType(ordered))
        object.__setattr__(self, "environment", MappingProxyType(dict(sorted(self.environment.items()))))

    @cached_property
    def key(self) -> str:
        """Return a hash of the content, the same in every process and on every machine."""
        content = [self.model, dict(self.arguments)]
        if self.environment:  # earlier sweeps had none
            content.append(dict(self.environment))
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=_name).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EngineSpec) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[type[EngineSpec], tuple[str, dict[str, Any], dict[str, str]]]:
        return EngineSpec, (self.model, dict(self.arguments), dict(self.environment))


def _copy(value: object) -> object:
    """Copy lists and mappings at every depth, so that changing the originals has no effect."""
    if isinstance(value, Mapping):
        return {name: _copy(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(inner) for inner in value]
    return value


def _name(value: object) -> str:
    """Return the import name of a value that JSON cannot hold, such as an executor class."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
