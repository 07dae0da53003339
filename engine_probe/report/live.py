"""The running point, drawn while it runs: what runs and waits, the KV pool, tokens per second."""

from __future__ import annotations

from collections import deque

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine_probe.record.follow import Moment

SPARKS = "▁▂▃▄▅▆▇█"
HISTORY = 48  # ticks that the sparkline shows
FULL, NEARLY_FULL = 0.97, 0.85


def sparkline(values: list[float]) -> str:
    """One character per value, the highest the tallest."""
    top = max(values, default=0.0)
    if not top:
        return ""
    return "".join(SPARKS[min(len(SPARKS) - 1, int(value / top * len(SPARKS)))] for value in values)


class LiveView:
    """Takes moments, gives something to draw."""

    def __init__(self, title: str, expected_tokens: int) -> None:
        self._title = title
        self._expected = expected_tokens
        self._doing = "starting"
        self._last: Moment | None = None
        self._rates: deque[float] = deque(maxlen=HISTORY)

    def say(self, doing: str) -> None:
        self._doing = doing

    def add(self, now: Moment) -> None:
        before, self._last = self._last, now
        if before is not None and now.seconds > before.seconds:
            self._rates.append((now.output_tokens - before.output_tokens) / (now.seconds - before.seconds))

    def __rich__(self) -> RenderableType:
        if self._last is None:
            return Panel(Text(self._doing, style="dim"), title=self._title, title_align="left")
        now = self._last
        style = "red" if now.kv_share >= FULL else "yellow" if now.kv_share >= NEARLY_FULL else "green"
        grid = Table.grid(padding=(0, 2))
        grid.add_column(justify="right", style="dim")
        grid.add_column(ratio=1)
        grid.add_column(justify="right", width=16)
        done = ProgressBar(total=self._expected, completed=now.output_tokens)
        grid.add_row("answered", done, f"{now.output_tokens / self._expected:.0%} of {self._expected:,}")
        kv = ProgressBar(total=1.0, completed=now.kv_share, complete_style=style, finished_style=style)
        grid.add_row("KV blocks", kv, Text(f"{now.kv_share:.0%}", style=style))
        rate = f"{self._rates[-1]:,.0f}/s" if self._rates else "-"
        grid.add_row("tokens", Text(sparkline(list(self._rates)), style="cyan", overflow="crop", no_wrap=True), rate)
        counts = Text.assemble(
            ("running ", "dim"),
            f"{now.running}",
            ("   waiting ", "dim"),
            (f"{now.waiting}", "yellow" if now.waiting else ""),
            ("   preempted ", "dim"),
            (f"{now.preemptions}", "red" if now.preemptions else ""),
            ("   time ", "dim"),
            f"{now.seconds:.0f} s",
        )
        return Panel(Group(grid, counts), title=self._title, title_align="left")
