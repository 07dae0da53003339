"""Which all-reduce vLLM runs by default at the size that was measured with NCCL, as far as known facts decide it.

Read in vLLM 0.32.0 (`vllm/distributed/device_communicators`, `CudaCommunicator.all_reduce`): its implementations are
asked one after the other whether they take a buffer, FlashInfer's first, then vLLM's custom all-reduce, then torch's
symmetric memory, and NCCL takes the rest. Whether FlashInfer is installed, and whether the GPUs can multicast, this
program does not know, so the answer names these conditions. NCCL's symmetric memory and FlashInfer's all-reduce over
PCIe are off by default, and quick all-reduce is for AMD.
"""

import msgspec

from kernels_bench.devices.nvml import NVLINK
from kernels_bench.results import Device, Figure, Result

VLLM = "0.32"
MIB = 1 << 20
CUSTOM_RANKS, CUSTOM_BELOW = (2, 4, 6, 8), 8 * MIB
# By compute capability and ranks, in MiB: custom all-reduce takes less beside symmetric memory.
CUSTOM_BESIDE_SYMMETRIC = {
    "9.0": {2: 64.0, 4: 32.0, 6: 0.5, 8: 0.25},
    "10.0": {2: 2.0, 4: 2.0, 6: 1.0, 8: 1.0},
    "10.3": {2: 4.0, 4: 4.0, 6: 8.0, 8: 4.0},
    "10.7": {2: 4.0, 4: 4.0, 6: 8.0, 8: 4.0},
}
SYMMETRIC_UP_TO = {
    "9.0": {2: 64.0, 4: 32.0, 6: 64.0, 8: 64.0},
    "10.0": {2: 8.0, 4: 32.0, 6: 128.0, 8: 128.0},
    "10.3": {2: 4.0, 4: 32.0, 6: 32.0, 8: 64.0},
    "10.7": {2: 4.0, 4: 32.0, 6: 32.0, 8: 64.0},
}
FLASHINFER_UP_TO = {
    "9.0": {2: 64.0, 4: 2.0, 8: 0.5},
    "10.0": {2: 64.0, 4: 32.0, 8: 1.0},
    "10.3": {2: 64.0, 4: 64.0, 8: 4.0},
    "10.7": {2: 64.0, 4: 64.0, 8: 2.0},
}
FLASHINFER, CUSTOM, NCCL = "FlashInfer's if it is installed and takes this size", "its custom all-reduce", "NCCL"
SYMMETRIC = "torch's symmetric memory if the GPUs can multicast (NVSwitch)"
CUSTOM_IF_DIRECT = f"{CUSTOM} if the driver allows direct access between the GPUs"


def vllm_choice(capability: str, ranks: int, size: int, all_nvlink: bool) -> str:
    """Return what vLLM runs for a bf16 buffer on the GPUs of one machine: alternatives in the order it tries them."""

    def limit(table: dict[str, dict[int, float]]) -> float:
        return table.get(capability, {}).get(ranks, 0.0) * MIB

    choices = [FLASHINFER] if size <= limit(FLASHINFER_UP_TO) else []
    connected = ranks in CUSTOM_RANKS and (ranks == 2 or all_nvlink)
    below = min(limit(CUSTOM_BESIDE_SYMMETRIC) or CUSTOM_BELOW, CUSTOM_BELOW)
    custom = CUSTOM if all_nvlink else CUSTOM_IF_DIRECT
    if connected and size < below:
        choices.append(custom)
    elif size <= limit(SYMMETRIC_UP_TO):
        choices.append(SYMMETRIC)
        if connected and size < CUSTOM_BELOW:
            choices.append(custom)
    if not choices or choices[-1] != CUSTOM:
        choices.append(NCCL)
    return ", else ".join(choices)


def beside_engine(result: Result, devices: tuple[Device, ...], paths: dict[str, str]) -> Result:
    """Add what vLLM would run to an all-reduce over GPUs of known capability and links; return others as they are."""
    figure = result.figure
    capabilities = {device.capability for device in devices}
    if figure is None or figure.test != "allreduce" or len(capabilities) != 1 or "unknown" in paths.values():
        return result
    (capability,) = capabilities
    if capability is None:
        return result
    all_nvlink = all(path == NVLINK for path in paths.values())
    choice = vllm_choice(capability, len(devices), int(figure.detail["buffer_bytes"]), all_nvlink)
    told: Figure = msgspec.structs.replace(figure, detail={**figure.detail, f"vllm_{VLLM}": choice})
    words = f"measured with {figure.detail['implementation']}; vLLM {VLLM} runs by default {choice}"
    return msgspec.structs.replace(result, figure=told, reasons=(words, *result.reasons))
