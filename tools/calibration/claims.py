"""Every kind of claim that is checked: when it is true, and how often it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FALSE_ALARMS = 0.07  # the most, of tests at 5 %
POINTS = 0.05  # by which a stated probability may miss
COSTLY = 0.05  # of the best throughput: an operating point must not lose more, and may in this share of cases
MORE_SWEEPS = (4, 6)  # of each side, whose power is shown beside that of three
NOT_FITTED = ("padded steps to a token budget", "logarithmic")  # of these, `analysis.curve.shapes` has no family

# probability: true as often as it says. coverage: true as often as it is meant to be, or more often. false alarm: told
# in at most 7 % of the cases with nothing to tell. cost: true in less than 5 %. power: told in at least as many of the
# cases with something to tell as at best, less `POINTS`; no bound unless one is demanded. share: counted, not judged.
Part = Literal["curves", "comparisons", "load effects", "stops", "occasions"]
Rule = Literal["probability", "coverage", "false alarm", "cost", "power", "share"]
NOMINAL: dict[Rule, float] = {"coverage": 0.95, "false alarm": 0.05}


@dataclass(frozen=True)
class Topic:
    """One kind of claim."""

    name: str
    rule: Rule
    definition: str
    near_best: bool = False  # its power is to come within `POINTS` of the best

    @property
    def nominal(self) -> float | None:
        """Return what its test or interval is meant to reach."""
        return NOMINAL.get(self.rule)


@dataclass(frozen=True)
class Claim:
    """What one simulated measurement was concluded to show, held against the truth.

    `happened` is whether it is true, or for an alarm or a power whether it was told. It is None where the claim could
    have been made and was not. `stated` is the probability that came with it.
    """

    topic: str
    happened: bool | None
    stated: float | None = None


PARTS: dict[Part, tuple[Topic, ...]] = {
    # What a report says of one sweep.
    "curves": (
        Topic(
            "end of growth in its range",
            "coverage",
            "`saturation.low` to `.high` meets the stretch in which growth ends: from where less than 2 % is "
            "left to gain at any higher load, to where less than 0.1 % is",
        ),
        Topic(
            "end of growth, p % sure", "probability", "the same, by the probability printed with the saturation point"
        ),
        Topic(
            "end of growth where there is none",
            "false alarm",
            "an end of growth is named although more than 2 % is to be gained beyond the highest level",
        ),
        Topic(
            "still grows at the most that was tried",
            "coverage",
            "no end is named though regions are, and more than 0.1 % is to be gained beyond the highest level",
        ),
        Topic(
            "stays level behind it, p % sure",
            "probability",
            "growth has ended by the highest level, which lies at most 2 % below the best rate up to it",
        ),
        Topic(
            "falls behind it, p % sure",
            "probability",
            "the highest level lies more than 2 % below the best rate up to it",
        ),
        Topic(
            "fall told by repeats, where there is none",
            "false alarm",
            "`fallen` names the last level although its true rate is at least that of every level",
        ),
        Topic(
            "fall of 5 % or more told by repeats",
            "power",
            "`fallen` names the last level, whose true rate lies at least 5 % below the best level's",
        ),
        Topic(
            "end of spare capacity in its range",
            "coverage",
            "`equilibrium.low` to `.high` contains the load up to which X(n) is at least 80 % of n X(1)",
        ),
        Topic("region A, p % sure", "probability", "X(n) is at least 80 % of n X(1)"),
        Topic(
            "region B, p % sure",
            "probability",
            "X(n) is less than 80 % of n X(1), and more than 2 % is to be gained at higher loads",
        ),
        Topic(
            "region B+, p % sure",
            "probability",
            "at most 2 % is to be gained at higher loads, and X(n) lies at most 2 % below the best up to n",
        ),
        Topic("region C, p % sure", "probability", "X(n) lies more than 2 % below the best rate up to n"),
        Topic("region not told", "share", "a level has a question mark, as no load of one was measured"),
        Topic(
            "interval of the best level",
            "coverage",
            "the interval of the highest measured throughput contains the true rate there (times what the "
            "occasion has in common, which no repeat of this sweep can show)",
        ),
        Topic(
            "interval of a level",
            "coverage",
            "the same for every level; not made of single runs, or of repeats that followed each other",
        ),
        Topic(
            "interval of the noisiest level",
            "coverage",
            "the same for the level whose repeats scatter most, where levels scatter unequally",
        ),
        Topic(
            "told apart from the best level, where it is none the worse",
            "false alarm",
            "a level with repeats is not in `not_different` although its true rate is at least that of the "
            "level called best, less 0.1 %",
        ),
        Topic(
            "the noisiest level told apart, where it is none the worse",
            "false alarm",
            "the same for the level whose repeats scatter most, where levels scatter unequally",
        ),
        Topic(
            "5 % or more below the best level, and told apart",
            "power",
            "a level with repeats is not in `not_different`, and its true rate lies 5 % or more below that of "
            "the level called best",
        ),
        Topic(
            "another shape, where it is none",
            "false alarm",
            "a note says that the curve has another shape or none, although the product fits shapes of this kind",
        ),
        Topic(
            "another shape, where it is one",
            "power",
            "such a note, and the product fits no shape of this kind; promised is how many could be told at best, by a "
            "test that knows the truth and the fitted curve closest to it, but not how much noise the repeats share",
        ),
        *(Topic(f"another shape, where it is {name}", "power", "the same of this shape") for name in NOT_FITTED),
        Topic(
            "off the fitted curve, where it is no other shape and repeats share nothing",
            "false alarm",
            "a note says that the levels deviate from the fitted curve by more than repeats vary",
        ),
        Topic(
            "off the fitted curve, where it is another shape",
            "power",
            "such a note; it names another shape or shared noise. Promised is how many a test could tell at best that "
            "knows the noise, too",
        ),
        Topic(
            "operating where growth is said to end costs over 5 %",
            "cost",
            "X there lies more than 5 % below the best true rate of a measured level",
        ),
        Topic(
            "operating at the best measured level costs over 5 %",
            "cost",
            "the same for the level with the highest measured throughput",
        ),
        Topic(
            "operating at the operating point costs over 5 %",
            "cost",
            "the same for the lowest level that is shown to be within 5 % of the highest throughput",
        ),
    ),
    # A/A are two sweeps of one engine on two occasions. Where the drift is known, 2 to 7 earlier sweeps show it.
    "comparisons": (
        Topic(
            "A/A: a single change told",
            "false alarm",
            "any change of a rate or a time at any point is told better or worse",
        ),
        Topic(
            "A/A: a count told",
            "false alarm",
            "preemptions, which vary from run to run, are told better or worse at any point",
        ),
        Topic(
            "A/A: throughput of all points together told",
            "false alarm",
            "output_tokens_per_s over all points together is told better or worse",
        ),
        Topic("A/A: any figure of all points together told", "false alarm", "the same for any figure"),
        Topic(
            "A/A: gate broken at any point",
            "false alarm",
            '`--fail-if "output_tokens_per_s < -5%"` is broken at a point or over all points together',
        ),
        Topic(
            "A/A: gate broken over all points together", "false alarm", "the same gate, over all points together alone"
        ),
        Topic(
            "gate on the true change broken",
            "false alarm",
            "a gate whose bound is the true change of -5 % is broken at a point",
        ),
        Topic(
            "within the sweeps: interval of a change at a point",
            "share",
            "the interval within the sweeps of the change of output_tokens_per_s contains the true one; it is said not "
            "to include the drift between sweeps",
        ),
        Topic(
            "within the sweeps: interval of the change of all points together",
            "share",
            "the same over all points together",
        ),
        Topic(
            "-5 %: interval within the sweeps below zero at a point",
            "power",
            "it does so at one point, where the noise is independent; promised is what the best test reaches whose "
            "noise the runs of all points have to show (where it is known exactly, the best reaches 88.1 %)",
            near_best=True,
        ),
        Topic(
            "-5 %: interval within the sweeps below zero over all points together",
            "power",
            "the same over all points together",
        ),
        *(
            Topic(f"drift known: {name}", "false alarm", definition)
            for name, definition in (
                ("A/A: a single change told", "the same claims, where earlier sweeps show the drift"),
                ("A/A: a count told", "as above"),
                ("A/A: throughput of all points together told", "as above"),
                ("A/A: any figure of all points together told", "as above"),
                ("A/A: gate broken at any point", "as above"),
                ("A/A: gate broken over all points together", "as above"),
                ("gate on the true change broken", "as above"),
            )
        ),
        Topic(
            "drift known: interval of a change at a point",
            "coverage",
            "the interval with drift of the change of output_tokens_per_s at a point contains the true one",
        ),
        Topic(
            "drift known: interval of the change of all points together",
            "coverage",
            "the same over all points together",
        ),
        Topic(
            "drift known: -5 %: gate at 0 % broken over all points together",
            "power",
            '`--fail-if "output_tokens_per_s < 0%"` is broken, with 4 earlier sweeps, the noise being shared by the '
            "occasion",
        ),
        Topic(
            "drift that goes on: gate on the true change broken",
            "false alarm",
            "a gate whose bound is the true change of -5 % is broken over all points together; the machine drifts "
            "from sweep to sweep (a random walk), and the compared sweeps are any of them",
        ),
        Topic(
            "drift that goes on: interval of a change at a point",
            "coverage",
            "the interval with drift of such sweeps contains the true change at a point",
        ),
        Topic(
            "drift that goes on: interval of the change of all points together",
            "coverage",
            "the same over all points together",
        ),
    ),
    # Whether a figure depends on load.
    "load effects": (
        Topic(
            "effect of load told where there is none",
            "false alarm",
            "any of three figures that do not depend on load is said to rise, fall or differ (Holm); not made where "
            "loads were measured in their order, as load cannot be told from time",
        ),
        Topic(
            "not different, where the truth differs by over 10 %",
            "false alarm",
            "a figure that changes by 15 % from the lowest to the highest load is said not to differ",
        ),
        Topic("change of 15 % over the loads told", "power", "such a figure is said to rise, fall or differ"),
    ),
    # Rates that settle.
    "stops": (
        Topic(
            "interval of a settled rate, length set beforehand",
            "coverage",
            "the interval contains the long-run rate; the warm-up is 2 % of the time",
        ),
        Topic(
            "interval of a settled rate, long warm-up",
            "coverage",
            "the same where the rate approaches its value with a time constant of 20 to 40 % of the time",
        ),
        Topic(
            "warm-up told, length set beforehand",
            "share",
            "the rate is said not to have settled or to be warming up still; the warm-up is 2 % of the time, but the "
            "rate of a short run changes slowly by chance",
        ),
        Topic(
            "warm-up told, long warm-up",
            "share",
            "the same where the rate approaches its value with a time constant of 20 to 40 % of the time",
        ),
        Topic(
            "interval when stopped by [stop] steady",
            "coverage",
            "the interval with which `[stop] steady` ended the point contains the long-run rate",
        ),
        Topic(
            "off by more than was asked for when stopped",
            "false alarm",
            "the rate with which `[stop] steady` ended the point misses the long-run rate by more than `within`",
        ),
        Topic("stopped by [stop] steady within two minutes", "share", "the rule ended the point at all"),
    ),
    # A/A are two engines that do not differ, each measured by three sweeps on three occasions.
    "occasions": (
        Topic(
            "3 a side: A/A: a single change told",
            "false alarm",
            "any change of a rate or a time at any point is told better or worse (Holm over all figures and points)",
        ),
        Topic("3 a side: A/A: a count told", "false alarm", "the same of preemptions, which vary from run to run"),
        Topic(
            "3 a side: A/A: any figure of all points together told",
            "false alarm",
            "any figure over all points together is told better or worse (Holm over the figures)",
        ),
        Topic(
            "3 a side: A/A: throughput of all points together told", "false alarm", "the same of output_tokens_per_s"
        ),
        Topic(
            "3 a side: A/A: gate broken over all points together",
            "false alarm",
            '`--fail-if "output_tokens_per_s < -5%"` is broken over all points together',
        ),
        Topic(
            "3 a side: gate on the true change broken at a point",
            "false alarm",
            "a gate whose bound is the true change of -5 % is broken at a point",
        ),
        Topic(
            "3 a side: gate on the true change broken over all points",
            "false alarm",
            "the same over all points together",
        ),
        Topic(
            "3 a side: interval of a change at a point",
            "coverage",
            "the interval of the relative change of output_tokens_per_s at a point contains the true one",
        ),
        Topic(
            "3 a side: interval of the change of all points together", "coverage", "the same over all points together"
        ),
        Topic(
            "3 a side: -5 %: told worse at a point",
            "power",
            "output_tokens_per_s at one point is told worse (Holm over all points and figures), the noise being "
            "shared by the occasion",
        ),
        Topic("3 a side: -5 %: told worse over all points together", "power", "the same over all points together"),
        Topic(
            "3 a side: -5 %: gate at 0 % broken over all points together",
            "power",
            '`--fail-if "output_tokens_per_s < 0%"` is broken over all points together; a gate is not corrected',
        ),
        *(
            Topic(f"{sweeps} a side: -5 %: {told}", "power", f"the same with {sweeps} sweeps on each side")
            for sweeps in MORE_SWEEPS
            for told in ("told worse over all points together", "gate at 0 % broken over all points together")
        ),
    ),
}
TOPICS = {topic.name: topic for topics in PARTS.values() for topic in topics}
