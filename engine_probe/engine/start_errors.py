"""The reason why an engine did not start, as one sentence instead of a traceback."""

from engine_probe.engine.out_of_memory import LESS_AT_THE_START, REFUSED, chain, is_out_of_memory
from engine_probe.errors import EngineProbeError, InputError, UnavailableError

# Names and not classes, because those of the hub's client and its HTTP library differ between releases of vLLM.
NO_NETWORK = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError"}
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
    if names & NO_NETWORK or "connect" in reason.lower():
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
