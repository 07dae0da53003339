"""The live view of a point in a terminal, while its engine starts and while it runs."""

from collections import deque
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine_probe.recordings.live_reader import Moment
from engine_probe.text_format import duration

SPARKS = "▁▂▃▄▅▆▇█"
HISTORY = 400  # rates kept; a terminal has fewer columns
FULL, NEARLY_FULL = 0.97, 0.85
SEPARATOR = " · "


def sparkline(values: Sequence[float]) -> str:
    """Return one character per value, scaled to the highest value."""
    top = max(values, default=0.0)
    if not top:
        return ""
    return "".join(SPARKS[min(len(SPARKS) - 1, int(value / top * len(SPARKS)))] for value in values)


def clock(seconds: float) -> str:
    """Return seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def two_ends(left: str, right: str) -> Table:
    """Return a line with a text on the left, cut if it is too long, and a short one on the right."""
    line = Table.grid(expand=True, padding=(0, 1, 0, 0))
    line.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text(left), Text(right, style="dim"))
    return line


class FittingLine:
    """A line of the first pieces that fit."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = pieces

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = ""
        for piece in self._pieces:
            longer = f"{line}{SEPARATOR}{piece}" if line else piece
            if line and cell_len(longer) > options.max_width:
                break
            line = longer
        yield Text(line, no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, cell_len(SEPARATOR.join(self._pieces))))


class Sparkline:
    """A sparkline of the last values, one in a column."""

    def __init__(self, values: Sequence[float]) -> None:
        self._values = values

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(list(self._values)[-options.max_width :]), style="cyan", no_wrap=True, overflow="crop")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


class LiveView:
    """A panel for `rich.live`: the phases of the engine's start, then the latest moment of the run."""

    def __init__(self, title: str, expected_tokens: int | None) -> None:
        self._title = title
        self._expected = expected_tokens
        self._doing = "starting"
        self._phases: list[tuple[str, float]] = []
        self._share: float | None = None
        self._last: Moment | None = None
        self._rates: deque[float] = deque(maxlen=HISTORY)

    def say(self, doing: str) -> None:
        self._doing = doing

    def start(self, phases: list[tuple[str, float]], share: float | None = None) -> None:
        """Show the phases of the engine's start with their seconds; the last is in progress, by `share` if known."""
        self._phases, self._share = phases, share

    def add(self, now: Moment) -> None:
        before, self._last = self._last, now
        if before is not None and now.seconds > before.seconds:
            self._rates.append((now.output_tokens - before.output_tokens) / (now.seconds - before.seconds))

    def _answered(self, tokens: int) -> str:
        """Return the share of the expected tokens that were answered, or their number if no number is expected."""
        return (
            f"{tokens:,} tokens" if self._expected is None else f"{tokens / self._expected:.0%} of {self._expected:,}"
        )

    def __rich__(self) -> RenderableType:
        body = self._starting() if self._last is None else self._running(self._last)
        return Panel(body, title=self._title, title_align="left")

    def _starting(self) -> RenderableType:
        """Return each phase with its seconds and a bar of its share of the time so far."""
        total = sum(seconds for _, seconds in self._phases)
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(ratio=1)
        for number, (name, seconds) in enumerate(self._phases, start=1):
            running = number == len(self._phases)
            bar = ProgressBar(total=total or 1, completed=seconds, complete_style="cyan" if running else "dim")
            share = f" {self._share:.0%}" if running and self._share is not None else ""
            grid.add_row(Text(name + share, style="" if running else "dim"), f"{seconds:.0f} s", bar)
        return Group(two_ends(self._doing, clock(total)), grid)

    def _running(self, now: Moment) -> RenderableType:
        style = "red" if now.kv_share >= FULL else "yellow" if now.kv_share >= NEARLY_FULL else "green"
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(justify="right", style="dim", no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(justify="right", width=16, no_wrap=True)
        done = ProgressBar(total=self._expected, completed=now.output_tokens)
        grid.add_row("answered", done, self._answered(now.output_tokens))
        kv = ProgressBar(total=1.0, completed=now.kv_share, complete_style=style, finished_style=style)
        grid.add_row("KV blocks", kv, Text(f"{now.kv_share:.0%}", style=style))
        rate = f"{self._rates[-1]:,.0f}/s" if self._rates else "-"
        grid.add_row("tokens", Sparkline(self._rates), rate)
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
        return Group(grid, counts, latencies(now))


def latencies(now: Moment) -> Text:
    """Return the median latencies of the requests answered so far, and the duration of the latest steps."""
    answered = now.answered
    return Text.assemble(
        ("TTFT ", "dim"),
        duration(answered.ttft_ns),
        ("  TPOT ", "dim"),
        duration(answered.tpot_ns),
        (f"  p50 of {answered.requests:,}" if answered.requests else "  none answered yet", "dim"),
        ("   step ", "dim"),
        duration(now.step_ns),
        no_wrap=True,
        overflow="ellipsis",
    )
