"""The frozen description of an engine: a model's name and vLLM's own arguments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, eq=False)
class EngineSpec:
    """Making one touches nothing: no disk, no environment, no vLLM.

    `model` is an embedded model, a catalogue geometry, a folder or whatever vLLM takes; `arguments` are vLLM
    engine arguments under vLLM's own names.
    """

    model: str
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ordered = {name: _copy(self.arguments[name]) for name in sorted(self.arguments)}
        object.__setattr__(self, "arguments", MappingProxyType(ordered))

    @property
    def key(self) -> str:
        """The same for the same content, in every process and on every machine."""
        content = json.dumps([self.model, dict(self.arguments)], sort_keys=True, default=_name)
        return hashlib.sha256(content.encode()).hexdigest()

    def with_arguments(self, **arguments: object) -> EngineSpec:
        """A new description in which these arguments win."""
        return EngineSpec(self.model, {**self.arguments, **arguments})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EngineSpec) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[type[EngineSpec], tuple[str, dict[str, Any]]]:
        return EngineSpec, (self.model, dict(self.arguments))


def _copy(value: object) -> object:
    """Lists and mappings are copied all the way down, so that nobody can change them from outside."""
    if isinstance(value, Mapping):
        return {name: _copy(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(inner) for inner in value]
    return value


def _name(value: object) -> str:
    """Values that are not data, such as an executor class, count by their import name."""
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
