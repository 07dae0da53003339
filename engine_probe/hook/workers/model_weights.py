"""The weights that one rank holds, counted module by module and sorted by what a step reads of them.

A step reads all weights of linear layers, the head only where it samples, one embedding row per token, and only the
chosen experts. Shapes are taken from the attributes in which vLLM's layers describe their shard, because a backend may
have packed, quantised or moved the parameters themselves.
"""

from collections import Counter
from typing import Any

LINEAR = {"LinearBase", "Linear"}
HEAD, EMBEDDING, EXPERTS = {"ParallelLMHead"}, {"VocabParallelEmbedding", "Embedding"}, {"RoutedExperts"}
ATTENTION_BASE = "AttentionLayerBase"  # base of every layer that carries state from token to token
KNOWN_ATTENTION = "Attention"
GATED, UNGATED = 3, 2  # matrices of one expert: gate, up and down, or up and down


def count_weights(worker: Any) -> dict[str, Any]:
    """Count the weights of a worker, in whose process this runs, without reading or computing any."""
    model = worker.model_runner.get_model()  # without vLLM's wrapper for graphs
    counts = WeightCounts()
    for module in _text_part(model).modules():
        counts.add(module)
    rest = _outside_text_model(model, counts)
    if not counts.head_seen and getattr(model.config, "tie_word_embeddings", False):
        embedding = counts.parts["embedding"]
        counts.parts["head"] = {**embedding, "products": embedding["parameters"]}
        counts.tied = True
    if getattr(worker, "lora_config", None) is not None:
        counts.unknown.add("LoRA adapters")
    held = [part for name, part in counts.parts.items() if not (name == "head" and counts.tied)]
    return {
        "rank": int(worker.rank),
        "parameters": sum(part["parameters"] for part in held) + rest["parameters"],
        "bytes": sum(part["bytes"] for part in held) + rest["bytes"],
        "parts": counts.parts,
        "beside_text": rest,
        "tied_head": counts.tied,
        "row_bytes": counts.row_bytes,
        "experts": counts.experts,
        "attention": [
            {**dict(zip(ATTENTION_FIELDS, key, strict=True)), "layers": count}
            for key, count in counts.attention.items()
        ],
        "dtypes": dict(counts.dtypes),
        "schemes": dict(counts.schemes),
        "unknown": sorted(counts.unknown),
    }


ATTENTION_FIELDS = ("heads", "kv_heads", "head_size", "window", "kv_value_bytes")


class WeightCounts:
    """Adds up the parameters of modules; one that two modules share counts once."""

    def __init__(self) -> None:
        names = ("linear", "experts", "head", "embedding", "other")
        self.parts = {name: {"parameters": 0, "bytes": 0, "products": 0} for name in names}
        self.row_bytes = 0
        self.seen: set[int] = set()
        self.dtypes: Counter[str] = Counter()  # bytes
        self.schemes: Counter[str] = Counter()  # bytes of matrices and experts by how vLLM multiplies them
        self.attention: Counter[tuple[int | None, ...]] = Counter()
        self.experts: list[dict[str, int]] = []
        self.unknown: set[str] = set()
        self.tied = self.head_seen = False

    def add(self, module: Any) -> None:
        kinds = {base.__name__ for base in type(module).__mro__}
        name = type(module).__name__
        if ATTENTION_BASE in kinds:
            self._add_attention(module, name)
        if kinds & HEAD:
            self._add_head(module)
        elif kinds & EMBEDDING:
            rows = getattr(module, "num_embeddings_per_partition", None) or module.num_embeddings
            self.row_bytes += self._count_parameters("embedding", module, 0) // rows
        elif kinds & LINEAR:
            self._count_parameters("linear", module, matrix_size(module, "output_size", "input_size"))
        elif kinds & EXPERTS:
            self._add_experts(module)
        else:
            if any(parameter.dim() > 1 for parameter in module.parameters(recurse=False)):
                self.unknown.add(name)  # it computes something, and its shape does not tell how much
            self._count_parameters("other", module, 0)

    def _add_attention(self, module: Any, name: str) -> None:
        if name != KNOWN_ATTENTION or getattr(module, "head_size_v", module.head_size) != module.head_size:
            self.unknown.add(name)
            return
        values = (module.num_heads, module.num_kv_heads, module.head_size, module.sliding_window)
        dtype = getattr(module, "kv_cache_torch_dtype", None)
        self.attention[*values, None if dtype is None else int(dtype.itemsize)] += 1

    def _add_head(self, module: Any) -> None:
        self.head_seen = True
        values = matrix_size(module, "num_embeddings", "embedding_dim")
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in self.seen]
        if own:
            self._count_parameters("head", module, values)
        else:  # its weights are the embedding's
            self.tied = True
            size = sum(bytes_of(parameter) for parameter in module.parameters(recurse=False))
            self.parts["head"] = {"parameters": values, "bytes": size, "products": values}

    def _add_experts(self, module: Any) -> None:
        held, hidden, width = module.local_num_experts, module.hidden_size, module.intermediate_size_per_partition
        matrices = GATED if module.moe_config.is_act_and_mul else UNGATED
        size = self._count_parameters("experts", module, held * matrices * hidden * width)
        self.experts.append(
            {
                "held": held,
                "all": module.global_num_experts,
                "per_token": module.top_k,
                "parameters": matrices * hidden * width,
                "bytes": size // held,
            }
        )

    def _count_parameters(self, part: str, module: Any, values: int) -> int:
        """Add a module's own parameters to a part and return their bytes; `values` is the size of its matrix."""
        size = stored = others = 0
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in self.seen:
                continue
            self.seen.add(id(parameter))
            size += bytes_of(parameter)
            self.dtypes[dtype_name(parameter.dtype)] += bytes_of(parameter)
            if values and "bias" not in name:
                stored += parameter.numel()
            else:
                others += parameter.numel()
        if values and not stored:  # the backend handed the weights to a library, which holds a copy of the same size
            dtype = getattr(module, "params_dtype", None) or next(module.parameters(recurse=False)).dtype
            size += values * int(dtype.itemsize)
            self.dtypes[dtype_name(dtype)] += values * int(dtype.itemsize)
        self.parts[part]["parameters"] += values + others
        self.parts[part]["bytes"] += size
        self.parts[part]["products"] += values
        if values:
            scheme = getattr(module, "scheme", None) or getattr(module, "quant_method", None)
            self.schemes[type(scheme).__name__] += size
        return size


def matrix_size(module: Any, rows: str, columns: str) -> int:
    """Return the number of values in a layer's matrix, from vLLM's attributes of the shard or from torch's."""
    if hasattr(module, "in_features"):
        return int(module.in_features * module.out_features)
    sizes = (getattr(module, f"{name}_per_partition", None) or getattr(module, name) for name in (rows, columns))
    height, width = sizes
    return int(height * width)


def bytes_of(parameter: Any) -> int:
    return int(parameter.numel() * parameter.element_size())


def dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _text_part(model: Any) -> Any:
    """Return the part of a multimodal model that runs for every token; any other model as it is."""
    if getattr(model, "supports_multimodal", False) and hasattr(model, "get_language_model"):
        return model.get_language_model()
    return model


def _outside_text_model(model: Any, counts: WeightCounts) -> dict[str, int]:
    """Count what a text step does not read, such as image encoders."""
    rest = [parameter for parameter in model.parameters() if id(parameter) not in counts.seen]
    return {"parameters": sum(part.numel() for part in rest), "bytes": sum(map(bytes_of, rest)), "products": 0}
