"""Why an engine did not start or ran out of memory, in one sentence; from the words of torch, vLLM and the kernel."""

import re
from collections.abc import Iterator
from pathlib import Path

from engine_probe.errors import EngineProbeError, InputError, UnavailableError, reason_of

WORDS = re.compile(
    r"out of memory|OutOfMemory|can(?:'t|not) allocate memory|bad_alloc|\bMemoryError\b|Unable to allocate",
    re.IGNORECASE,
)
# vLLM's words when it refuses to start: the pool is larger than the free memory, or too small for one request.
REFUSED = re.compile(
    r"less than requested memory|No available memory for the cache|Free memory on device|available KV cache memory"
)
POOL = "gpu_memory_utilization, kv_cache_memory_bytes or num_gpu_blocks_override"
LESS_IN_A_STEP = f"lower max_num_batched_tokens or max_num_seqs (what a step takes), or the KV pool ({POOL})"
LESS_AT_THE_START = f"mind the KV pool ({POOL}), lower max_model_len, or take a smaller model or dtype"
VMSTAT = Path("/proc/vmstat")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, or one of its causes, says that memory ran out."""
    return any(isinstance(link, MemoryError) or WORDS.search(reason_of(link)) for link in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def kernel_kills() -> int | None:
    """Return how many processes the kernel has killed since boot because memory ran out. None if it does not count."""
    try:
        match = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) if match else None


# Names and not classes, because those of the hub's client and its HTTP library differ between releases of vLLM.
NO_NETWORK = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"}
CONNECTION = re.compile(r"\bconnect(ion|ing)?\b", re.IGNORECASE)  # and no KV connector
NO_REPOSITORY = {"RepositoryNotFoundError", "HFValidationError", "RevisionNotFoundError"}
NO_ACCESS = {"GatedRepoError"}
WRONG_VALUE = {"ValidationError"}


def startup_error(model: str, error: BaseException) -> EngineProbeError:
    """Return the error to raise in place of `error`, which the caller chains."""
    names = {type(link).__name__ for link in chain(error)}
    reason = _reason(error)
    if names & NO_ACCESS:
        return UnavailableError(f"model {model} asks for a login at its hub: log in, or use a local folder")
    if names & NO_REPOSITORY:
        return InputError(f"model {model} is unknown to the hub: check the name, or give a local folder")
    if names & NO_NETWORK or CONNECTION.search(reason):
        return UnavailableError(
            f"model {model} is not on this machine and its hub cannot be reached: give a local folder, or "
            "one of `engine_probe models`, which need no network"
        )
    if names & WRONG_VALUE:
        return InputError(f"vLLM refuses the engine arguments for {model}: {reason}")
    if is_out_of_memory(error) or REFUSED.search(str(error)):
        return UnavailableError(f"vLLM found too little memory to start {model}: {reason}: {LESS_AT_THE_START}")
    return UnavailableError(f"vLLM could not start {model}: {reason}")


def _reason(error: BaseException) -> str:
    """Return the last useful line of an error's message; pydantic adds a link to its documentation."""
    stripped = (line.strip() for line in str(error).splitlines())
    lines = [line for line in stripped if line and not line.startswith("For further information")]
    if type(error).__name__ in WRONG_VALUE:
        return ": ".join(line.partition(" [type=")[0] for line in lines[-2:])
    last = lines[-1] if lines else "it said nothing"
    return last if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: {last}"
