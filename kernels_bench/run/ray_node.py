"""What runs on a node of a fleet: the command itself, as a process of its own, and what it says meanwhile.

Sent there by value, so it imports the standard library alone: a node without kernels_bench can say so.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class NodeSide:
    """An actor of several threads: one runs, another is asked how far it is."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="kernels_bench_"))

    def ready(self) -> bool:
        return True

    def run(self, arguments: list[str], baseline: bytes | None) -> tuple[int, bytes | None, str]:
        """The exit code, the report as it was written, and the last words where there is none."""
        written, said = self._folder / "report.json", self._folder / "said"
        line = [sys.executable, "-m", "kernels_bench", *arguments, "--json", str(written)]
        if baseline is not None:
            saved = self._folder / "baseline.json"
            saved.write_bytes(baseline)
            line += ["--baseline", str(saved)]
        with said.open("wb") as errors:
            self._process = subprocess.Popen(
                line, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=end_with_parent, cwd=self._folder
            )
            code = self._process.wait()
        return code, written.read_bytes() if written.exists() else None, self.doing()

    def doing(self) -> str:
        said = self._folder / "said"
        lines = said.read_text(errors="replace").strip().splitlines() if said.exists() else []
        return lines[-1].strip() if lines else ""

    def stop(self) -> None:
        """As Ctrl-C: what is finished is still written."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)


def end_with_parent() -> None:
    """A card must not go on being measured when nobody waits for it: Linux ends the child with its parent. And Ctrl-C,
    which Ray keeps from its workers, is heard."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
