"""What an operator or a kernel is for, by its name: one table for torch's operators and for the kernels of GPUs.

The first pattern that matches decides. A name that none matches is "other", and the report shows its share.
"""

import re
from functools import cache

GAP, OTHER, COLLECTIVE = "gap", "other", "collective"
NORMALISATION, ELEMENTWISE, COPY = "normalisation", "elementwise and views", "copy"

# fmt: off
_PATTERNS = (
    (COLLECTIVE, r"nccl|all_?reduce|all_?gather|reduce_?scatter|all_?to_?all|broadcast_coalesced|c10d::|shm_|multimem"
                 r"|cross_device_reduce|one_?shot|two_?shot|\bgloo"),
    ("launch", r"^cuda\w*Launch|^cuLaunch|^hip\w*Launch|cudaGraphLaunch"),
    ("wait", r"^cuda\w*Synchronize|^cudaEventQuery|^cudaStreamWaitEvent|^cuStreamSynchronize|_local_scalar_dense"
             r"|aten::item"),
    ("KV cache", r"reshape_and_cache|kv_cache_update|concat_and_cache|slot_mapping|copy_blocks|swap_blocks"),
    ("attention", r"attention|attn|flash|fmha|\bfa[234]\b|mla_|paged_|flashinfer|scaled_dot_product|BatchPrefill"
                  r"|BatchDecode|scheduler_metadata|mamba|selective_scan|causal_conv1d|gated_delta"),
    (NORMALISATION, r"norm"),
    ("rotary embedding", r"rotary|rope"),
    ("experts", r"moe|topk_softmax|grouped_topk|fused_experts|expert"),
    ("sampling", r"argmax|argsort|aten::sort|topk|top_k|top_p|multinomial|sampl|softmax|exponential_|gumbel|penalt"
                 r"|random|cumsum|RadixSort|rejection"),
    ("matrix product", r"gemm|gemv|matmul|onednn|mkldnn|cutlass|cublas|nvjet|xmma|wmma|weight_packed_linear|marlin"
                       r"|machete|splitK|aten::(add)?(mm|bmm|mv)\b|aten::baddbmm|aten::linear|scaled_mm|dot_product"
                       r"|ampere_|hopper_|sm\d+_"),
    ("activation", r"silu|gelu|relu|swiglu|sigmoid|tanh|act_and_mul|mul_and_silu"),
    ("quantisation", r"quant|dequant|fp8|int8"),
    ("embedding", r"embedding|index_select"),
    (COPY, r"memcpy|memset|copy_|_to_copy|aten::(to|clone|contiguous|fill_|zero_|zeros|cat|stack|lift_fresh)\b"
             r"|copy_kernel|CatArray|FillFunctor"),
    ("compiled code", r"CompiledFxGraph|triton_(poi|red|per|tem)|triton_|cpp_fused|bytecode|AOTDispatcher|torchdynamo"
                      r"|Torch-Compiled"),
    (ELEMENTWISE, r"elementwise|aten::|reduce_kernel|index|gather|scatter"),
)
# fmt: on
_COMPILED = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _PATTERNS)


@cache
def kind_of(name: str) -> str:
    """Return what an operator or kernel is for."""
    return next((kind for kind, pattern in _COMPILED if pattern.search(name)), OTHER)


def kind_in_layer(name: str, layer: str | None) -> str:
    """Return what an operator is for, given the kind of the layer it runs in.

    A norm without a kernel of its own is a handful of elementwise operators and casts, which only the layer tells.
    """
    kind = kind_of(name)
    return NORMALISATION if layer == NORMALISATION and kind in (ELEMENTWISE, COPY) else kind


# The outermost modules of a model that match are its layers by kind; what lies between them has none.
_LAYERS = (
    (NORMALISATION, r"Norm"),
    ("attention", r"Attention|Attn|Mamba|Mixer|DeltaNet"),
    ("experts", r"MoE|Moe|Experts"),
    ("MLP", r"MLP|Mlp|FeedForward"),
    ("embedding", r"Embedding"),
)


def layer_kind(class_name: str) -> str | None:
    """Return the kind of a layer by the name of its class. None for a container."""
    return next((kind for kind, pattern in _LAYERS if re.search(pattern, class_name)), None)
