"""Resolve the lock files in `tools/locks` anew: `make lock`, or `.venv/bin/python tools/lock.py`.

Each holds the exact versions, for Python 3.11 to 3.14 on Linux: `cpu.txt` and `cuda.txt` what a sweep needs, `dev.txt`
what the tests need beside either. They name no index: packages come from wherever uv and pip are configured to look.
"""

import itertools
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bootstrap.install import TESTED, pip_settings, uv_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "tools" / "locks"
HEADER = "# Made from pyproject.toml by `make lock`; do not edit.\n"
ENVIRONMENTS = [
    {
        "python_version": f"3.{minor}",
        "python_full_version": f"3.{minor}.5",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    for minor, machine in itertools.product((11, 12, 13, 14), ("x86_64", "aarch64"))
]


def simplified(line: str) -> str:
    """Return a pin without a marker that always holds, and nothing for one that holds on no supported machine."""
    requirement = Requirement(line)
    holds = [requirement.marker is None or requirement.marker.evaluate(each) for each in ENVIRONMENTS]
    if not any(holds):
        return ""
    return f"{requirement.name}{requirement.specifier}\n" if all(holds) else f"{line}\n"


class Compiler:
    """uv's resolver, with what pip and uv are configured with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
        self.environment = uv_environment(pip_settings(listed.stdout), os.environ)

    def compile(self, extras: list[str], constraints: str) -> str:
        """Return the pins of pyproject.toml with these extras, for every platform."""
        pins = self.run(extras, constraints, "--universal", "--python-version", "3.11")
        # For every platform uv reads the metadata of one wheel of a version: what another wheel of it asks for beside
        # that shows when it resolves for this machine alone.
        here = self.run(extras, f"{constraints}\n{pins}")
        names = {Requirement(line).name for line in pins.splitlines()}
        more = [line for line in here.splitlines() if Requirement(line).name not in names]
        return pins + "".join(f"{line} ; platform_machine == '{platform.machine()}'\n" for line in more)

    def run(self, extras: list[str], constraints: str, *options: str) -> str:
        (self.folder / "constraints.txt").write_text(constraints)
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", str(ROOT / "pyproject.toml")]
        command += [*options, "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--constraints", str(self.folder / "constraints.txt")]
        if "cpu" in extras:
            command += ["--excludes", str(LOCKS / "excluded.txt")]
        command += [word for extra in extras for word in ("--extra", extra)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode and "no version of torch" in done.stderr:
            command += ["--torch-backend", "cpu"]
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"lock: uv cannot resolve {', '.join(extras)}: {done.stderr.strip()}")
        return "".join(f"{line}\n" for line in done.stdout.splitlines() if "==" in line)


def main() -> None:
    with TemporaryDirectory() as temporary:
        compiler = Compiler(Path(temporary))
        together = compiler.compile(["cpu", "dev"], "\n".join(TESTED["cpu"]))
        dev = compiler.compile(["dev"], together)
        cpu = compiler.compile(["cpu"], together)
        cuda = compiler.compile(["cuda"], dev + "\n".join(TESTED["cuda"]))
    for name, pins in (("dev", dev), ("cpu", cpu), ("cuda", cuda)):
        lines = sorted(filter(None, map(simplified, pins.splitlines())))
        (LOCKS / f"{name}.txt").write_text(HEADER + "".join(lines))
        print(f"lock: tools/locks/{name}.txt has {len(lines)} versions")


if __name__ == "__main__":
    main()
