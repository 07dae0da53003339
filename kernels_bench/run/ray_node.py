"""The actor on a node of a fleet, which runs the command in a process and reports its progress.

Ray sends this module by value, and it imports only the standard library, so that it also runs on a node without
kernels_bench, whose error then says so.
"""

import ctypes
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

DIE_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class NodeActor:
    """Runs the command in one thread and reports its progress from another."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="kernels_bench_"))

    def ready(self) -> bool:
        return True

    def run(self, arguments: list[str], baseline: bytes | None) -> tuple[int, bytes | None, str]:
        """Run the command; return its exit code, the report if it wrote one, and the last line on stderr."""
        report, stderr = self._folder / "report.json", self._folder / "stderr"
        command = [sys.executable, "-m", "kernels_bench", *arguments, "--json", str(report)]
        if baseline is not None:
            saved = self._folder / "baseline.json"
            saved.write_bytes(baseline)
            command += ["--baseline", str(saved)]
        with stderr.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=errors, preexec_fn=end_with_parent, cwd=self._folder
            )
            code = self._process.wait()
        return code, report.read_bytes() if report.exists() else None, self.progress()

    def progress(self) -> str:
        """Return the last line that the command has written to stderr."""
        stderr = self._folder / "stderr"
        lines = stderr.read_text(errors="replace").strip().splitlines() if stderr.exists() else []
        return lines[-1].strip() if lines else ""

    def stop(self) -> None:
        """Stop the command as Ctrl-C does, so that it writes what is finished."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)


def end_with_parent() -> None:
    """Make Linux end this child with its parent, so that no GPU is measured in vain, and unblock SIGINT.

    Ray blocks SIGINT in its workers, whose children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGTERM)
