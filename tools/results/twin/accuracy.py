"""How far twins lie from a real engine, on points that had no part in their fit: errors, and whether intervals hold.

Usage: `python -m tools.results.twin.accuracy --write docs/results/twin/accuracy.md`, in the root of the repository,
where nothing else runs: some twenty minutes. In each of a few rounds every engine is started anew and records every
point once, held-out ones between recordings whose work is known: those for the fit, or anchors that have no part in it.
The fit has all rounds. A machine whose speed drifts measures the same point otherwise each time; so the median over the
rounds is compared, once as measured, and once with each measurement divided by how much slower than on average of the
rounds the recordings just before and after it were. No held-out point tells anything of its own. --keep FOLDER leaves
the recordings there, and what was measured there before is only predicted anew: a measurement may be divided. With
--kernels FILE of `engine_probe validate --json` the same points are also predicted from measured kernels alone.
"""

import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
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
from tools.result_page import head_commit, options, show, table
from tools.results.twin.accuracy_points import ENGINES, ROUNDS, Engine, seed, sweep_text

MODELS = ("smollm2", "tiny")
AIMS = {"E2EL p50": 0.067, "TTFT p50": 0.10, RATE: 0.10}
COVERAGE = 0.9
FIGURES = (RATE, "TTFT p50", "TPOT p50", "ITL p50", "ITL p99", "E2EL p50")


class Measured(NamedTuple):
    """One figure of a point in one round, and how fast the machine was."""

    value: float
    drift: float = 1.0  # how much longer the recordings beside it took than on average of the rounds
    pace: float = 1.0  # predicted over recorded time of the point's own steps


class Compared(NamedTuple):
    """One figure of a held-out point."""

    engine: str
    case: str
    figure: str
    measured: tuple[Measured, ...]  # round by round
    predicted: float
    low: float
    high: float

    @property
    def value(self) -> float:
        return median(each.value for each in self.measured)

    @property
    def error(self) -> float:
        return self.predicted / self.value - 1

    @property
    def error_beside_anchors(self) -> float:
        """Return the error with each round's drift taken out, as the recordings beside the point tell it."""
        return self.predicted / median(self._at(each, each.drift) for each in self.measured) - 1

    @property
    def error_at_pace(self) -> float:
        """Return the error that is left if the machine had been as fast as at the fitted recordings."""
        return self.predicted / median(self._at(each, 1 / each.pace) for each in self.measured) - 1

    @property
    def change(self) -> float:
        """Return by how much the median of every second round differs from that of the others."""
        values = [each.value for each in self.measured]
        return median(values[1::2]) / median(values[::2]) - 1 if len(values) > 1 else 0.0

    @property
    def inside(self) -> int:
        """Return how many of the measurements lie in the interval."""
        return sum(self.low <= each.value <= self.high for each in self.measured)

    def _at(self, each: Measured, slower: float) -> float:
        return each.value * (slower if self.figure == RATE else 1 / slower)


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


def recorded_rounds(models: Sequence[str], place: Path, rounds: int) -> dict[str, dict[int, list[Run]]]:
    """Return each model's recordings by their seeds, round by round; the models take turns as well."""
    found: dict[str, dict[int, list[Run]]] = {model: {} for model in models}
    for number in range(1, rounds + 1):
        for model in models:
            for engine in ENGINES:
                print(f"round {number}: {model}, {engine.name}, {len(engine.cases)} points", file=sys.stderr)
                text = sweep_text(model, engine, range(len(engine.cases)))
                for name, runs in swept(text, place / f"{model} {engine.name} {number}").items():
                    found[model].setdefault(name, []).extend(runs)
    return found


def model_accuracy(model: str, measured: Mapping[int, list[Run]], place: Path, kernels: Path | None) -> Accuracy:
    times = step_times(
        [
            run
            for engine in ENGINES
            for number, case in enumerate(engine.cases)
            if case.fitted
            for run in measured[seed(engine, number)]
        ]
    )
    calibrated, derived = list[Compared](), list[Compared]()
    for engine in ENGINES:
        print(f"{model}, {engine.name}: predicting", file=sys.stderr)
        held_out = [number for number, case in enumerate(engine.cases) if case.held_out]
        text = sweep_text(model, engine, held_out)
        own = limits(measured[seed(engine, held_out[0])][0].facts)
        twin = msgspec.json.encode(Twin("the points for the fit", times, own)).decode()
        shutil.rmtree(place / f"{model} {engine.name} predicted", ignore_errors=True)
        predicted = swept(text, place / f"{model} {engine.name} predicted", "--set", f"engine.twin={twin}")
        paces = {
            number: [pace(run, times) for run in measured[seed(engine, number)]] for number in range(len(engine.cases))
        }
        calibrated += compared(engine, measured, predicted, paces)
        if kernels is not None and engine is ENGINES[0]:
            by_kernels = swept(text, place / f"{model} {engine.name} derived", "--twin", str(kernels))
            derived += compared(engine, measured, by_kernels, paces)
    return Accuracy(calibrated, derived, times)


def pace(run: Run, times: StepTimes) -> float:
    """Return the predicted over the recorded time of a recording's steps."""
    prices = msgspec.to_builtins(times)
    steps = steps_alone(Recorded(run.facts, run.iterations, run.requests, run.workers), times.requests)
    expected = predicted_ns(steps, prices_of(prices["prices"]), prices_of(prices["host"]))
    return float(expected.sum() / steps.ns.sum())


def drifts(engine: Engine, number: int, paces: Mapping[int, Sequence[float]]) -> list[float]:
    """Return for each round how much slower than on average the recordings before and after a point were.

    Those that are themselves held out tell nothing.
    """
    beside = [
        near for near in (number - 1, number + 1) if 0 <= near < len(engine.cases) and not engine.cases[near].held_out
    ]
    slower = [
        [1 / own * len(paces[near]) / sum(1 / each for each in paces[near]) for own in paces[near]] for near in beside
    ]
    return [math.exp(mean(map(math.log, both))) for both in zip(*slower, strict=True)]


def compared(
    engine: Engine,
    measured: Mapping[int, list[Run]],
    predicted: Mapping[int, list[Run]],
    paces: Mapping[int, Sequence[float]],
) -> Iterator[Compared]:
    for number, case in enumerate(engine.cases):
        if not case.held_out:
            continue
        real = [run.summary() for run in measured[seed(engine, number)]]
        (guess,) = (run.summary() for run in predicted[seed(engine, number)])
        speeds = list(zip(drifts(engine, number, paces), paces[number], strict=True))
        for figure in FIGURES:
            values, other = [value_of(summary, figure) for summary in real], value_of(guess, figure)
            found = guess.interval(figure, other)
            known = [value for value in values if value is not None]
            if other is not None and found is not None and len(known) == len(speeds):
                # Open arrivals set the tokens per second, whatever the pace of steps.
                is_given = figure == RATE and "open_loop" in case.arrivals(1)
                each = (
                    Measured(value, *((1.0, 1.0) if is_given else own))
                    for value, own in zip(known, speeds, strict=True)
                )
                yield Compared(engine.name, case.name, figure, tuple(each), other, *found)


def value_of(summary: Summary, figure: str) -> float | None:
    if figure == RATE:
        return summary.output_tokens_per_s
    name, percent = figure.split(" p")
    return next(each.percentiles_ns[int(percent)] for each in summary.latencies if each.name == name)


def verdict(rows: Sequence[Compared]) -> Iterator[str]:
    """Yield the figures that the issue names, with its aims."""

    def of(figure: str) -> Iterator[str]:
        own = [row for row in rows if row.figure == figure]
        yield figure
        for name in ("error", "error_beside_anchors", "change", "error_at_pace"):
            yield f"{median(abs(getattr(row, name)) for row in own):.1%}"
        yield f"{AIMS[figure]:.1%}" if figure in AIMS else "-"

    titles = ("", "median error", "drift taken out", "halves of the rounds differ by", "at the recorded pace", "aim")
    yield from table(titles, map(of, (*AIMS, *(figure for figure in FIGURES if figure not in AIMS))))
    count = sum(len(row.measured) for row in rows)
    yield f"| inside their 90 % intervals, of {count} measurements | {coverage(rows):.0%} | | | | {COVERAGE:.0%} |"


def coverage(rows: Sequence[Compared]) -> float:
    return sum(row.inside for row in rows) / sum(len(row.measured) for row in rows)


def every_figure(rows: Sequence[Compared]) -> Iterator[str]:
    def of(row: Compared) -> tuple[str, ...]:
        scale, unit = (1.0, "") if row.figure == RATE else (1e-6, " ms")
        values = [each.value for each in row.measured]
        middle, least, most, predicted, low, high = (
            f"{value * scale:,.4g}" for value in (row.value, min(values), max(values), row.predicted, row.low, row.high)
        )
        errors = f"{row.error:+.1%}", f"{row.error_beside_anchors:+.1%}"
        inside = f"{row.inside} of {len(values)}"
        cells = (row.engine, row.case, row.figure, middle, f"{least} to {most}", predicted, *errors)
        return (*cells, f"{low} to {high}{unit}", inside)

    titles = ("engine", "point", "figure", "measured", "least to most", "predicted", "error", "drift taken out")
    yield from table((*titles, "interval", "inside"), map(of, rows), words=(0, 1, 2))


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


def document(found: dict[str, Accuracy], commit: str, rounds: int) -> Iterator[str]:
    yield from (
        "# How far a twin's predictions lie from what was measured",
        "",
        MADE.format(commit=commit, rounds=rounds),
        "",
    )
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
times are fitted to six points of the plain engine, each recorded in {rounds} starts of it; the others are held out,
and those with prefix caching and short chunks run on engines that the fit never saw. Each of {rounds} rounds starts
every engine, and models, fitted and held-out points take turns in it. Errors are those of the median over the
rounds."""
NOTES = """\
- With drift taken out, each round's measurement is first divided by how much slower than on average of the rounds the
  recordings just before and after it were: those for the fit and, on the other engines, anchors. It tells how far the
  model is off on a machine whose speed changes within minutes, and uses nothing of a held-out point.
- Two halves are every second round and the others: no prediction can be much nearer than their medians are to each
  other.
- At the recorded pace, each measurement is divided by how much longer the point's own steps took than they should have,
  in sum. It uses what was held out, and so is no accuracy, but shows the cause of an error: what is left comes from
  which steps are predicted, and not from how long all of them take.
- An interval covers what nine of ten measurements should show: the noise of a recording, that of the fitted ones as far
  as they draw the prediction along, what one start of the engine differs from another, and what a figure scatters by
  itself. Where prices are known, it does (`tests/analysis/batch/test_interval_coverage.py`). Every round's measurement
  counts; all figures of one point are wrong together, so that the share here is a rough check.
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
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="how often each point is recorded")
    asked = parser.parse_args()
    if asked.rounds < 2:
        parser.error(
            f"--rounds {asked.rounds}: one round does not tell by how much measurements differ: give 2 or more"
        )
    with tempfile.TemporaryDirectory() as scratch:
        place = asked.keep or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        runs = recorded_rounds(asked.models, place, asked.rounds)
        found = {model: model_accuracy(model, runs[model], place, asked.kernels) for model in asked.models}
    show(document(found, head_commit(), asked.rounds), asked.write)


if __name__ == "__main__":
    main()
