"""Progress on stderr: a line that changes on a terminal, plain lines elsewhere."""

from typing import Self

from rich.console import Console

from kernels_bench.output.quantities import quantity, shown
from kernels_bench.results import Figure, Skipped


class Screen:
    """Shows what runs now (`doing`) and each finding (`found`) in a `with` block."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self._console.status("starting") if self._console.is_terminal else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status:
            self._status.stop()

    def test(self, device: str, name: str, question: str) -> None:
        self._console.print(f"{device} {name}: {question}", style="dim")

    def doing(self, text: str) -> None:
        if self._status:
            self._status.update(shown(text))

    def found(self, finding: Figure | Skipped) -> None:
        value = quantity(finding.value, finding.unit) if isinstance(finding, Figure) else finding.reason
        self._console.print(f"  {shown(finding.name)}: {shown(value)}")
