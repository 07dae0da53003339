"""The model as one rank holds it: its weights counted module by module, by what a step does with them.

Matrix products read all their weights in every step, the head only where a token is sampled, an embedding a row per
token, experts those that were chosen. Shapes come from the layers' own account of their shard, so that weights which
a backend has packed away, or quantised, are still counted as what they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

LINEAR = {"LinearBase", "Linear"}
HEAD, EMBEDDING, EXPERTS = {"ParallelLMHead"}, {"VocabParallelEmbedding", "Embedding"}, {"RoutedExperts"}
MIXERS = "AttentionLayerBase"  # whatever carries state from token to token
KNOWN_MIXER = "Attention"
GATED, PLAIN = 3, 2  # matrices of one expert: gate, up and down, or up and down


def loaded_model(worker: Any) -> dict[str, Any]:
    """Runs in the worker; nothing is computed and no weight is read."""
    model = worker.model_runner.get_model()  # without what vLLM wraps around it to capture graphs
    counted = Counted()
    for module in model.modules() if _text_part(model) is model else _text_part(model).modules():
        counted.add(module)
    rest = _rest(model, counted)
    if not counted.head_seen and getattr(model.config, "tie_word_embeddings", False):
        embedding = counted.parts["embedding"]
        counted.parts["head"] = {**embedding, "products": embedding["parameters"]}
        counted.tied = True
    if getattr(worker, "lora_config", None) is not None:
        counted.unknown.add("LoRA adapters")
    held = [part for name, part in counted.parts.items() if not (name == "head" and counted.tied)]
    return {
        "rank": int(worker.rank),
        "parameters": sum(part["parameters"] for part in held) + rest["parameters"],
        "bytes": sum(part["bytes"] for part in held) + rest["bytes"],
        "parts": counted.parts,
        "beside_text": rest,
        "tied_head": counted.tied,
        "row_bytes": counted.row_bytes,
        "experts": counted.experts,
        "attention": [
            {**dict(zip(ATTENTION, key, strict=True)), "layers": count} for key, count in counted.attention.items()
        ],
        "dtypes": dict(counted.dtypes),
        "unknown": sorted(counted.unknown),
    }


ATTENTION = ("heads", "kv_heads", "head_size", "window", "kv_value_bytes")


class Counted:
    """What has been seen so far; a parameter that two modules share is held once."""

    def __init__(self) -> None:
        names = ("linear", "experts", "head", "embedding", "other")
        self.parts = {name: {"parameters": 0, "bytes": 0, "products": 0} for name in names}
        self.row_bytes = 0
        self.seen: set[int] = set()
        self.dtypes: Counter[str] = Counter()  # bytes
        self.attention: Counter[tuple[int | None, ...]] = Counter()
        self.experts: list[dict[str, int]] = []
        self.unknown: set[str] = set()
        self.tied = self.head_seen = False

    def add(self, module: Any) -> None:
        kinds = {base.__name__ for base in type(module).__mro__}
        name = type(module).__name__
        if MIXERS in kinds:
            self._mixer(module, name)
        if kinds & HEAD:
            self._head(module)
        elif kinds & EMBEDDING:
            rows = getattr(module, "num_embeddings_per_partition", None) or module.num_embeddings
            self.row_bytes += self._count("embedding", module, 0) // rows
        elif kinds & LINEAR:
            self._count("linear", module, matrix(module, "output_size", "input_size"))
        elif kinds & EXPERTS:
            self._experts(module)
        else:
            if any(parameter.dim() > 1 for parameter in module.parameters(recurse=False)):
                self.unknown.add(name)  # a product of some kind, whose cost its shape does not tell
            self._count("other", module, 0)

    def _mixer(self, module: Any, name: str) -> None:
        if name != KNOWN_MIXER or getattr(module, "head_size_v", module.head_size) != module.head_size:
            self.unknown.add(name)
            return
        values = (module.num_heads, module.num_kv_heads, module.head_size, module.sliding_window)
        dtype = getattr(module, "kv_cache_torch_dtype", None)
        self.attention[*values, None if dtype is None else int(dtype.itemsize)] += 1

    def _head(self, module: Any) -> None:
        self.head_seen = True
        values = matrix(module, "num_embeddings", "embedding_dim")
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in self.seen]
        if own:
            self._count("head", module, values)
        else:  # its weights are the embedding's
            self.tied = True
            size = sum(bytes_of(parameter) for parameter in module.parameters(recurse=False))
            self.parts["head"] = {"parameters": values, "bytes": size, "products": values}

    def _experts(self, module: Any) -> None:
        here, hidden, width = module.local_num_experts, module.hidden_size, module.intermediate_size_per_partition
        matrices = GATED if module.moe_config.is_act_and_mul else PLAIN
        size = self._count("experts", module, here * matrices * hidden * width)
        self.experts.append(
            {
                "held": here,
                "all": module.global_num_experts,
                "per_token": module.top_k,
                "parameters": matrices * hidden * width,
                "bytes": size // here,
            }
        )

    def _count(self, part: str, module: Any, values: int) -> int:
        """Its own parameters; `values` is how many the matrix has by its shape, whatever is packed or gone."""
        size = stored = others = 0
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in self.seen:
                continue
            self.seen.add(id(parameter))
            size += bytes_of(parameter)
            self.dtypes[plain(parameter.dtype)] += bytes_of(parameter)
            if values and "bias" not in name:
                stored += parameter.numel()
            else:
                others += parameter.numel()
        if values and not stored:  # handed over to a library, which keeps its own copy of the same size
            dtype = getattr(module, "params_dtype", None) or next(module.parameters(recurse=False)).dtype
            size += values * int(dtype.itemsize)
            self.dtypes[plain(dtype)] += values * int(dtype.itemsize)
        self.parts[part]["parameters"] += values + others
        self.parts[part]["bytes"] += size
        self.parts[part]["products"] += values
        return size


def matrix(module: Any, rows: str, columns: str) -> int:
    """By the layer's own account: vLLM's, of its shard, or torch's."""
    if hasattr(module, "in_features"):
        return int(module.in_features * module.out_features)
    sizes = (getattr(module, f"{name}_per_partition", None) or getattr(module, name) for name in (rows, columns))
    height, width = sizes
    return int(height * width)


def bytes_of(parameter: Any) -> int:
    return int(parameter.numel() * parameter.element_size())


def plain(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _text_part(model: Any) -> Any:
    """Of a model that also sees or hears, what runs for every token."""
    if getattr(model, "supports_multimodal", False) and hasattr(model, "get_language_model"):
        return model.get_language_model()
    return model


def _rest(model: Any, counted: Counted) -> dict[str, int]:
    """Encoders and the like: held, and not read by a step of text."""
    left = list(_unseen(model, counted.seen))
    return {"parameters": sum(part.numel() for part in left), "bytes": sum(map(bytes_of, left)), "products": 0}


def _unseen(model: Any, seen: set[int]) -> Iterator[Any]:
    return (parameter for parameter in model.parameters() if id(parameter) not in seen)
