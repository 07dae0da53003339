"""What a profiler saw, folded: planted operators and kernels are recovered, and every phase adds up."""

from collections import Counter

import numpy as np
import pytest

from engine_probe.hook.workers import operator_rows
from engine_probe.hook.workers.operator_kinds import kind_of, layer_kind
from engine_probe.hook.workers.operator_rows import (
    MOST_NAME,
    Key,
    OperatorEvent,
    TimeSpan,
    exclusive_ns,
    folded,
    innermost,
    slice_rows,
)
from engine_probe.hook.workers.phases import WorkerStep

US = 1_000
THREAD, STREAM, OTHER_STREAM = 7, 1, 2


def step(number: int = 0, begin: int = 0) -> WorkerStep:
    """A step of 1 ms: preparation 100 µs, forward 500, logits 100, sampling 200, bookkeeping 100."""
    return WorkerStep(
        number=number,
        called=begin,
        forward_called=begin + 100 * US,
        forward_returned=begin + 600 * US,
        returned=begin + 700 * US,
        sample_called=begin + 700 * US,
        bookkeeping_called=begin + 900 * US,
        sample_returned=begin + 1_000 * US,
    )


def operator(name: str, begin_us: float, end_us: float, lane: int = THREAD, launch: int = 0) -> OperatorEvent:
    return OperatorEvent(name, round(begin_us * US), round(end_us * US), lane, launch=launch)


def kernel(name: str, begin_us: float, end_us: float, launch: int = 0, stream: int = STREAM) -> OperatorEvent:
    return OperatorEvent(name, round(begin_us * US), round(end_us * US), stream, on_device=True, launch=launch)


def sums(
    found: list[tuple[Key, int, int]], *places: int, where: str = "host", phase: str = "forward"
) -> Counter[object]:
    """Add up the time by the parts of the key at these places."""
    totals: Counter[object] = Counter()
    for key, _, ns in found:
        if key[1] == phase and key[2] == where:
            totals[tuple(key[place] for place in places) if len(places) > 1 else key[places[0]]] += ns
    return totals


def test_each_moment_belongs_to_the_innermost_operator_or_to_a_gap() -> None:
    events = [
        operator("vllm::unified_attention_with_output", 150, 350),
        operator("_C::cpu_attention_with_kv_cache", 200, 300),
        operator("_C::onednn_mm", 400, 500),
        operator("_C::onednn_mm", 520, 560),
    ]
    found = folded(events, [step()], [], THREAD)
    assert sums(found, 3) == {"attention": 200 * US, "matrix product": 140 * US, "gap": 160 * US}
    assert sums(found, 5)["_C::cpu_attention_with_kv_cache"] == 100 * US
    calls = {key[5]: calls for key, calls, _ in found if key[1] == "forward"}
    assert (calls["_C::onednn_mm"], calls[""]) == (2, 0)


def test_every_phase_adds_up_to_its_duration_whatever_the_operators() -> None:
    random = np.random.default_rng(1)
    names = ("aten::mm", "_C::rms_norm", "aten::copy_", "strange", "_C::greedy_argmax")
    steps = [step(number, number * 1_100 * US) for number in range(5)]
    starts = np.sort(random.integers(0, 5_500 * US, 2_000))
    events = [
        OperatorEvent(names[at % 5], int(start), int(start + random.integers(0, 20 * US)), THREAD)
        for at, start in enumerate(starts)
    ]
    found = folded(events, steps, [], THREAD)
    for number in range(5):
        mine = [each for each in found if each[0][0] == number]
        for phase, us in {"input preparation": 100, "forward": 500, "logits": 100, "sampling": 200}.items():
            assert sum(sums(mine, 3, phase=phase).values()) == us * US


def test_an_operator_across_two_phases_is_divided_and_counted_where_it_began() -> None:
    found = folded([operator("aten::mm", 50, 150)], [step()], [], THREAD)
    told = {key[1]: (calls, ns) for key, calls, ns in found if key[5] == "aten::mm"}
    assert told == {"input preparation": (1, 50 * US), "forward": (0, 50 * US)}


def test_other_threads_and_the_time_between_steps_count_for_nothing() -> None:
    events = [operator("aten::mm", 200, 300, lane=THREAD + 1), operator("aten::mm", 1_010, 1_050)]
    assert sums(folded(events, [step()], [], THREAD), 3) == {"gap": 500 * US}


def test_operators_belong_to_the_layer_that_runs() -> None:
    layers = [TimeSpan(100 * US, 300 * US, "attention"), TimeSpan(300 * US, 500 * US, "MLP")]
    found = folded([operator("aten::mm", 200, 400)], [step()], layers, THREAD)
    assert sums(found, 3, 4) == {
        ("matrix product", "attention"): 100 * US,
        ("matrix product", "MLP"): 100 * US,
        ("gap", "attention"): 100 * US,
        ("gap", "MLP"): 100 * US,
        ("gap", None): 100 * US,
    }


def test_elementwise_operators_in_a_norm_are_the_norm() -> None:
    layers = [TimeSpan(100 * US, 300 * US, "normalisation"), TimeSpan(300 * US, 600 * US, "MLP")]
    events = [operator("aten::pow", 100, 250), operator("aten::_to_copy", 250, 300), operator("aten::mul", 300, 600)]
    found = sums(folded(events, [step()], layers, THREAD), 3)
    assert found == {"normalisation": 200 * US, "elementwise and views": 300 * US}


def test_kernels_belong_to_the_phase_that_launched_them_however_late_they_run() -> None:
    """The forward launches at 110-120 µs what the device runs after the host has returned."""
    events = [
        operator("cudaLaunchKernel", 110, 112, launch=1),
        operator("cudaLaunchKernel", 112, 115, launch=2),
        operator("cudaLaunchKernel", 800, 803, launch=3),
        kernel("nvjet_tst_128x8_64x12", 700, 1_000, launch=1),
        kernel("flash_fwd_splitkv_kernel", 1_020, 1_120, launch=2),
        kernel("at::native::reduce_kernel<ArgMaxOps>", 1_130, 1_140, launch=3),
    ]
    found = folded(events, [step()], [TimeSpan(112 * US, 116 * US, "attention")], THREAD)
    assert sums(found, 3, 4, where="device") == {
        ("matrix product", None): 300 * US,
        ("attention", "attention"): 100 * US,
        ("gap", None): 20 * US,
    }
    assert sums(found, 3, where="device", phase="sampling") == {"sampling": 10 * US, "gap": 0}


def test_a_launched_graph_is_many_kernels_each_by_its_name() -> None:
    events = [
        operator("cudaGraphLaunch", 150, 170, launch=9),
        *(kernel("nvjet_hsh", 200 + 30 * at, 220 + 30 * at, launch=9) for at in range(10)),
    ]
    found = folded(events, [step()], [], THREAD)
    assert sums(found, 3, where="device") == {"matrix product": 200 * US, "gap": 90 * US}
    assert {key[5]: calls for key, calls, _ in found if key[2] == "device"} == {"nvjet_hsh": 10, "": 0}


def test_a_collective_has_only_the_time_in_which_nothing_else_runs() -> None:
    events = [
        kernel("ncclDevKernel_AllReduce_Sum_bf16", 110, 210, stream=OTHER_STREAM),
        kernel("cutlass_80_tensorop_gemm", 150, 190),
        kernel("cutlass_80_tensorop_gemm", 230, 240),
    ]
    assert exclusive_ns(events) == [60 * US, 40 * US, 10 * US]
    assert sums(folded(events, [step()], [], THREAD), 3, where="device") == {
        "collective": 60 * US,
        "matrix product": 50 * US,
        "gap": 20 * US,
    }


def test_kernels_on_two_streams_are_not_counted_twice() -> None:
    random = np.random.default_rng(2)
    begins = np.sort(random.integers(0, 1_000, 200))
    events = [
        kernel("gemm" if at % 3 else "nccl", begin, begin + random.integers(1, 40), stream=at % 2)
        for at, begin in enumerate(begins.tolist())
    ]
    covered = np.zeros(1_100 * US, bool)
    for event in events:
        covered[event.start_ns : event.end_ns] = True
    assert sum(exclusive_ns(events)) == covered.sum()


def test_a_step_without_a_forward_is_one_phase() -> None:
    bare = step()
    bare.forward_called = bare.forward_returned = None
    bare.sample_called = bare.bookkeeping_called = None
    found = folded([operator("aten::mm", 50, 150)], [bare], [], THREAD)
    assert sums(found, 3, phase="whole step") == {"matrix product": 100 * US, "gap": 600 * US}


def test_a_long_name_is_cut_but_judged_as_a_whole() -> None:
    name = "void " + "x" * 300 + "_flash_fwd"
    ((key, _, _),) = [each for each in folded([operator(name, 150, 250)], [step()], [], THREAD) if each[0][5]]
    assert (len(key[5]), key[3]) == (MOST_NAME, "attention")


def test_the_innermost_event_of_nested_ones_that_begin_or_end_together() -> None:
    outer, inner, last = (operator(name, *times) for name, *times in (("a", 0, 10), ("b", 0, 4), ("c", 8, 10)))
    spans = [(span.start_ns // US, span.end_ns // US, span.value.name) for span in innermost([outer, inner, last])]
    assert spans == [(0, 4, "b"), (4, 8, "a"), (8, 10, "c")]


def test_slices_are_limited_to_the_longest_in_the_order_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_rows, "MOST_SLICES", 2)
    events = [operator("a", 100, 110), operator("b", 120, 180), operator("c", 200, 205), kernel("nccl", 300, 400)]
    rows, left_out = slice_rows(events, [step()], THREAD)
    assert [(row[0], row[2], row[3], row[5]) for row in rows] == [
        (120 * US, "host", None, "b"),
        (300 * US, "device", STREAM, "nccl"),
    ]
    assert left_out == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrix product"),
        ("aten::mm", "matrix product"),
        ("_C::onednn_mm", "matrix product"),
        ("_C::weight_packed_linear", "matrix product"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "matrix product"),
        ("nvjet_tst_64x8_64x16_4x1_v_bz_TNT", "matrix product"),
        ("void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<...>>", "matrix product"),
        ("_C::cpu_attention_with_kv_cache", "attention"),
        ("void cutlass::device_kernel<flash::enable_sm90_or_later<flash::FlashAttnFwdSm90<...>>>", "attention"),
        ("void flashinfer::BatchDecodeWithPagedKVCacheKernel<...>", "attention"),
        ("fmhaSm100aKernel_QkvBfloat16OBfloat16H128PagedKv", "attention"),
        ("_C::rms_norm", "normalisation"),
        ("triton_red_fused__to_copy_add_mean_mul_pow_rsqrt_rms_norm_0", "normalisation"),
        ("void vllm::fused_add_rms_norm_kernel<c10::BFloat16, 8>", "normalisation"),
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "collective"),
        ("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 2>", "collective"),
        ("_C::shm_allreduce", "collective"),
        ("_C::greedy_argmax", "sampling"),
        ("Memcpy HtoD (Pinned -> Device)", "copy"),
        ("Memset (Device)", "copy"),
        ("aten::copy_", "copy"),
        ("void vllm::reshape_and_cache_flash_kernel<...>", "KV cache"),
        ("fused_moe_kernel", "experts"),
        ("_C::rotary_embedding", "rotary embedding"),
        ("_C::silu_and_mul", "activation"),
        ("triton_poi_fused_mul_silu_1", "activation"),
        ("triton_poi_fused_add_3", "compiled code"),
        ("## Call CompiledFxGraph None ##", "compiled code"),
        (
            "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>",
            "elementwise and views",
        ),
        ("aten::slice", "elementwise and views"),
        ("cudaLaunchKernel", "launch"),
        ("cudaGraphLaunch", "launch"),
        ("cudaStreamSynchronize", "wait"),
        ("my_own_thing", "other"),
    ],
)
def test_kinds_by_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("class_name", "kind"),
    [
        ("LlamaAttention", "attention"),
        ("LlamaMLP", "MLP"),
        ("RMSNorm", "normalisation"),
        ("VocabParallelEmbedding", "embedding"),
        ("Qwen3MoeSparseMoeBlock", "experts"),
        ("MambaMixer2", "attention"),
        ("LlamaDecoderLayer", None),
        ("LlamaForCausalLM", None),
    ],
)
def test_layers_by_class(class_name: str, kind: str | None) -> None:
    assert layer_kind(class_name) == kind
