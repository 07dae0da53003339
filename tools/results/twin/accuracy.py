"""How far twins lie from a real engine, on points that had no part in their fit: errors, and whether intervals hold.

Usage: `python -m tools.results.twin.accuracy --write docs/results/twin/accuracy.md`, in the root of the repository,
where nothing else runs: some twenty minutes. In each of three rounds every engine is started anew and records every
point once, those for the fit and held-out ones in turns. The fit has all rounds, and so knows by how much one start
differs from another; what was measured in the second round, with fitted recordings before and after it, is compared,
and seen beside the third. --keep FOLDER leaves the recordings there, and what was measured there before is only
predicted anew: a measurement may be divided. With --kernels FILE of `engine_probe validate --json` the same points are
also predicted from measured kernels alone.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

import engine_probe
from engine_probe.analysis.batch.calibration import Recorded, steps_alone
from engine_probe.analysis.batch.prediction_interval import RATE, prices_of
from engine_probe.analysis.batch.step_prices import predicted_ns
from engine_probe.analysis.run.summary import Summary
from engine_probe.commands.sweep.twin import limits, step_times
from engine_probe.engine.twin.settings import Twin
from engine_probe.engine.twin.step_times import StepTimes
from engine_probe.recordings.run import Run
from tools.results.result_page import head_commit, options, show
from tools.results.twin.accuracy_points import ENGINES, ROUNDS, Case, Engine, seed, sweep_text

MODELS = ("smollm2", "tiny")
AIMS = {"E2EL p50": 0.067, "TTFT p50": 0.10, RATE: 0.10}
COVERAGE = 0.9
COMPARED = 1  # the second round, counted from zero
FIGURES = (RATE, "TTFT p50", "TPOT p50", "ITL p50", "ITL p99", "E2EL p50")


class Compared(NamedTuple):
    """One figure of a held-out point."""

    engine: str
    case: str
    figure: str
    measured: float
    again: float  # in the third round
    predicted: float
    low: float
    high: float
    pace: float = 1.0  # predicted over recorded time of the point's own steps

    @property
    def change(self) -> float:
        return self.again / self.measured - 1

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1

    @property
    def error_at_pace(self) -> float:
        """Return the error that is left if the machine had been as fast as at the fitted recordings."""
        return (1 + self.error) * (self.pace if self.figure == RATE else 1 / self.pace) - 1

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high


def swept(text: str, folder: Path, *more: str) -> dict[int, list[Run]]:
    """Run a sweep unless its folder is there, and return its recordings by their seeds, in the order of rounds."""
    if not folder.is_dir():
        file = folder.with_suffix(".toml")
        file.write_text(text, encoding="utf-8")
        words = [sys.executable, "-m", "engine_probe", "sweep", str(file), "--out", str(folder), *more]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{folder.name}: {done.stderr[-3000:]}")
    found: dict[int, list[Run]] = {}
    for run in sorted(engine_probe.load_sweep(folder).runs, key=lambda run: run.iterations["start_ns"][0].as_py()):
        found.setdefault(run.facts["workload"]["seed"], []).append(run)
    return found


class Accuracy(NamedTuple):
    """The comparisons of one model's figures with the calibrated twin's and the derived one's."""

    calibrated: list[Compared]
    derived: list[Compared]
    times: StepTimes  # of the calibrated twin


def model_accuracy(model: str, place: Path, kernels: Path | None) -> Accuracy:
    measured: dict[int, list[Run]] = {}
    for number in range(1, ROUNDS + 1):
        for engine in ENGINES:
            print(f"{model}, {engine.name}: measuring {len(engine.cases)} points, round {number}", file=sys.stderr)
            found = swept(sweep_text(model, engine, engine.cases), place / f"{model} {engine.name} {number}")
            for name, runs in found.items():
                measured.setdefault(name, []).extend(runs)
    fitted = [run for each in ENGINES for case in each.cases if case.fitted for run in measured[seed(each, case)]]
    times = step_times(fitted)
    calibrated, derived = list[Compared](), list[Compared]()
    for engine in ENGINES:
        print(f"{model}, {engine.name}: predicting", file=sys.stderr)
        held_out = [case for case in engine.cases if not case.fitted]
        text = sweep_text(model, engine, held_out)
        own = limits(measured[seed(engine, held_out[0])][COMPARED].facts)
        twin = msgspec.json.encode(Twin("the points for the fit", times, own)).decode()
        shutil.rmtree(place / f"{model} {engine.name} predicted", ignore_errors=True)
        predicted = swept(text, place / f"{model} {engine.name} predicted", "--set", f"engine.twin={twin}")
        paces = {case.name: pace(measured[seed(engine, case)][COMPARED], times) for case in held_out}
        calibrated += compared(engine, held_out, measured, predicted, paces)
        if kernels is not None and engine is ENGINES[0]:
            by_kernels = swept(text, place / f"{model} {engine.name} derived", "--twin", str(kernels))
            derived += compared(engine, held_out, measured, by_kernels, {})
    return Accuracy(calibrated, derived, times)


def pace(run: Run, times: StepTimes) -> float:
    """Return the predicted over the recorded time of a recording's steps."""
    prices = msgspec.to_builtins(times)
    steps = steps_alone(Recorded(run.facts, run.iterations, run.requests, run.workers), times.requests)
    expected = predicted_ns(steps, prices_of(prices["prices"]), prices_of(prices["host"]))
    return float(expected.sum() / steps.ns.sum())


def compared(
    engine: Engine,
    cases: Iterable[Case],
    measured: dict[int, list[Run]],
    predicted: dict[int, list[Run]],
    paces: dict[str, float],
) -> Iterator[Compared]:
    for case in cases:
        of_case = seed(engine, case)
        *real, guess = (run.summary() for run in (*measured[of_case][COMPARED:], *predicted[of_case]))
        for figure in FIGURES:
            one, again, other = (value_of(summary, figure) for summary in (*real, guess))
            found = guess.interval(figure, other)
            if one is not None and again is not None and other is not None and found is not None:
                # Open arrivals set the tokens per second, whatever the pace of steps.
                own = 1.0 if figure == RATE and "open_loop" in case.arrivals(1) else paces.get(case.name, 1.0)
                yield Compared(engine.name, case.name, figure, one, again, other, *found, own)


def value_of(summary: Summary, figure: str) -> float | None:
    if figure == RATE:
        return summary.output_tokens_per_s
    name, percent = figure.split(" p")
    return next(each.percentiles_ns[int(percent)] for each in summary.latencies if each.name == name)


def verdict(rows: Sequence[Compared]) -> Iterator[str]:
    """Yield the figures that the issue names, with its aims."""
    yield "| | median error | aim | two measurements differ by | error at the recorded pace |"
    yield "|---|--:|--:|--:|--:|"
    for figure in (*AIMS, *(figure for figure in FIGURES if figure not in AIMS)):
        own = [row for row in rows if row.figure == figure]
        cells = [
            f"{median(abs(getattr(row, name)) for row in own):.1%}" for name in ("error", "change", "error_at_pace")
        ]
        cells.insert(1, f"{AIMS[figure]:.1%}" if figure in AIMS else "-")
        yield f"| {figure} | {' | '.join(cells)} |"
    yield f"| figures inside their 90 % intervals, of {len(rows)} | {coverage(rows):.0%} | {COVERAGE:.0%} | - | - |"


def coverage(rows: Sequence[Compared]) -> float:
    return sum(row.inside for row in rows) / len(rows)


def every_figure(rows: Sequence[Compared]) -> Iterator[str]:
    yield "| engine | point | figure | measured | again | predicted | error | interval | |"
    yield "|---|---|---|--:|--:|--:|--:|--:|---|"
    for row in rows:
        scale, unit = (1.0, "") if row.figure == RATE else (1e-6, " ms")
        numbers = (f"{value * scale:,.4g}" for value in (row.measured, row.again, row.predicted))
        span = f"{row.low * scale:,.4g} to {row.high * scale:,.4g}{unit}"
        outside = "" if row.inside else "outside"
        cells = (row.engine, row.case, row.figure, *numbers, f"{row.error:+.1%}", span, outside)
        yield f"| {' | '.join(cells)} |"


def fitted_words(times: StepTimes) -> str:
    """Say how much recordings and starts differ, and what a request costs the host between steps."""
    each = " and ".join(f"{price.ns / 1e6:.2f} ms for each {name}" for name, price in times.requests.items())
    spreads = " and ".join(
        f"{spread.deviation:.1%} from {one} to {one}"
        for one, spread in (("recording", times.noise), ("start of the engine", times.starts))
        if spread is not None
    )
    return (
        f"All times differ by {spreads} (standard deviations, from the fit). The host's time for requests between "
        f"steps, fitted: {each}."
    )


def document(found: dict[str, Accuracy], commit: str) -> Iterator[str]:
    yield from ("# How far a twin's predictions lie from what was measured", "", MADE.format(commit=commit), "")
    every = [row for accuracy in found.values() for row in accuracy.calibrated]
    yield from ("## All models", "", *verdict(every), "", NOTES)
    for model, accuracy in found.items():
        rows = accuracy.calibrated
        yield from ("", f"## {model}", "", *verdict(rows), "", fitted_words(accuracy.times), "", *every_figure(rows))
    derived = {model: accuracy.derived for model, accuracy in found.items() if accuracy.derived}
    if derived:
        yield from ("", "## Derived from measured kernels alone", "")
        for model, rows in derived.items():
            yield from (f"{model}:", "", *verdict(rows), "")
        yield DERIVED


MADE = """\
Made by `python -m tools.results.twin.accuracy` at {commit}: a real engine on two CPU cores, and twins of it. Step
times are fitted to six points of the plain engine, each recorded since three starts of it; the others are held out,
and those with prefix caching and short chunks run on engines that the fit never saw. Each of three rounds starts every
engine, and fitted and held-out points take turns in it. Errors are those of the second round's measurement, "again" is
the third's."""
NOTES = """\
- No prediction can be nearer than two measurements of the same point are to each other.
- The last column takes the machine's speed out: each figure is divided by how much longer the point's own steps should
  have taken than they did, in sum. It uses what was held out, and so is no accuracy, but shows the cause of an error:
  what is left comes from the model, the rest from a machine that was faster or slower than at the fitted recordings.
- An interval covers what nine of ten measurements should show: the noise of a recording, that of the fitted ones as far
  as they draw the prediction along, what one start of the engine differs from another, and what a figure scatters by
  itself. Where prices are known, it does (`tests/analysis/batch/test_interval_coverage.py`). All figures of one point
  are wrong together, so that the share here is a rough check.
- Steps scatter in a twin as they did in the recordings, which ITL p99 shows."""
DERIVED = """\
- Kernels in plain torch on a CPU are not those of vLLM's CPU build, which packs weights; the host, sampling and what
  lies between kernels are not in them. Their intervals are those of the measurements and cover none of that."""


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL", help="models to measure")
    parser.add_argument(
        "--kernels", type=Path, metavar="FILE", help="also predict from this report of `validate --json`"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave the recordings in FOLDER, and take those that are there"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        found = {model: model_accuracy(model, place, asked.kernels) for model in asked.models}
    show(document(found, head_commit()), asked.write)


if __name__ == "__main__":
    main()
