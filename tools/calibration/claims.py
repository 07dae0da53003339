"""Every kind of claim that is checked: when it is true, and how often it must be."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

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
RULES: tuple[Rule, ...] = get_args(Rule)
NOMINAL: dict[Rule, float] = {"coverage": 0.95, "false alarm": 0.05}


@dataclass(frozen=True)
class Topic:
    """One kind of claim."""

    rule: Rule
    name: str
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


probability, coverage, false_alarm, cost, power, share = (partial(Topic, rule) for rule in RULES)

PARTS: dict[Part, tuple[Topic, ...]] = {
    # What a report says of one sweep.
    "curves": (
        coverage(
            "end of growth in its range",
            "`saturation.low` to `.high` meets the stretch in which growth ends: from where less than 2 % is "
            "left to gain at any higher load, to where less than 0.1 % is",
        ),
        probability("end of growth, p % sure", "the same, by the probability printed with the saturation point"),
        false_alarm(
            "end of growth where there is none",
            "an end of growth is named although more than 2 % is to be gained beyond the highest level",
        ),
        coverage(
            "still grows at the most that was tried",
            "no end is named though regions are, and more than 0.1 % is to be gained beyond the highest level",
        ),
        probability(
            "stays level behind it, p % sure",
            "growth has ended by the highest level, which lies at most 2 % below the best rate up to it",
        ),
        probability("falls behind it, p % sure", "the highest level lies more than 2 % below the best rate up to it"),
        false_alarm(
            "fall told by repeats, where there is none",
            "`fallen` names the last level although its true rate is at least that of every level",
        ),
        power(
            "fall of 5 % or more told by repeats",
            "`fallen` names the last level, whose true rate lies at least 5 % below the best level's",
        ),
        coverage(
            "end of spare capacity in its range",
            "`equilibrium.low` to `.high` contains the load up to which X(n) is at least 80 % of n X(1)",
        ),
        probability("region A, p % sure", "X(n) is at least 80 % of n X(1)"),
        probability(
            "region B, p % sure", "X(n) is less than 80 % of n X(1), and more than 2 % is to be gained at higher loads"
        ),
        probability(
            "region B+, p % sure",
            "at most 2 % is to be gained at higher loads, and X(n) lies at most 2 % below the best up to n",
        ),
        probability("region C, p % sure", "X(n) lies more than 2 % below the best rate up to n"),
        share("region not told", "a level has a question mark, as no load of one was measured"),
        coverage(
            "interval of the best level",
            "the interval of the highest measured throughput contains the true rate there (times what the "
            "occasion has in common, which no repeat of this sweep can show)",
        ),
        coverage(
            "interval of a level",
            "the same for every level; not made of single runs, or of repeats that followed each other",
        ),
        coverage(
            "interval of the noisiest level",
            "the same for the level whose repeats scatter most, where levels scatter unequally",
        ),
        false_alarm(
            "told apart from the best level, where it is none the worse",
            "a level with repeats is not in `not_different` although its true rate is at least that of the "
            "level called best, less 0.1 %",
        ),
        false_alarm(
            "the noisiest level told apart, where it is none the worse",
            "the same for the level whose repeats scatter most, where levels scatter unequally",
        ),
        power(
            "5 % or more below the best level, and told apart",
            "a level with repeats is not in `not_different`, and its true rate lies 5 % or more below that of "
            "the level called best",
        ),
        false_alarm(
            "another shape, where it is none",
            "a note says that the curve has another shape or none, although the product fits shapes of this kind",
        ),
        power(
            "another shape, where it is one",
            "such a note, and the product fits no shape of this kind; promised is how many could be told at best, by a "
            "test that knows the truth and the fitted curve closest to it, but not how much noise the repeats share",
        ),
        *(power(f"another shape, where it is {name}", "the same of this shape") for name in NOT_FITTED),
        false_alarm(
            "off the fitted curve, where it is no other shape and repeats share nothing",
            "a note says that the levels deviate from the fitted curve by more than repeats vary",
        ),
        power(
            "off the fitted curve, where it is another shape",
            "such a note; it names another shape or shared noise. Promised is how many a test could tell at best that "
            "knows the noise, too",
        ),
        cost(
            "operating where growth is said to end costs over 5 %",
            "X there lies more than 5 % below the best true rate of a measured level",
        ),
        cost(
            "operating at the best measured level costs over 5 %",
            "the same for the level with the highest measured throughput",
        ),
        cost(
            "operating at the operating point costs over 5 %",
            "the same for the lowest level that is shown to be within 5 % of the highest throughput",
        ),
    ),
    # A/A are two sweeps of one engine on two occasions. Where the drift is known, 2 to 7 earlier sweeps show it.
    "comparisons": (
        false_alarm("A/A: a single change told", "any change of a rate or a time at any point is told better or worse"),
        false_alarm(
            "A/A: a count told", "preemptions, which vary from run to run, are told better or worse at any point"
        ),
        false_alarm(
            "A/A: throughput of all points together told",
            "output_tokens_per_s over all points together is told better or worse",
        ),
        false_alarm("A/A: any figure of all points together told", "the same for any figure"),
        false_alarm(
            "A/A: gate broken at any point",
            '`--fail-if "output_tokens_per_s < -5%"` is broken at a point or over all points together',
        ),
        false_alarm("A/A: gate broken over all points together", "the same gate, over all points together alone"),
        false_alarm(
            "gate on the true change broken", "a gate whose bound is the true change of -5 % is broken at a point"
        ),
        share(
            "within the sweeps: interval of a change at a point",
            "the interval within the sweeps of the change of output_tokens_per_s contains the true one; it is said not "
            "to include the drift between sweeps",
        ),
        share("within the sweeps: interval of the change of all points together", "the same over all points together"),
        power(
            "-5 %: interval within the sweeps below zero at a point",
            "it does so at one point, where the noise is independent; promised is what the best test reaches whose "
            "noise the runs of all points have to show (where it is known exactly, the best reaches 88.1 %)",
            near_best=True,
        ),
        power(
            "-5 %: interval within the sweeps below zero over all points together", "the same over all points together"
        ),
        false_alarm("drift known: A/A: a single change told", "the same claims, where earlier sweeps show the drift"),
        *(
            false_alarm(f"drift known: {name}", "as above")
            for name in (
                "A/A: a count told",
                "A/A: throughput of all points together told",
                "A/A: any figure of all points together told",
                "A/A: gate broken at any point",
                "A/A: gate broken over all points together",
                "gate on the true change broken",
            )
        ),
        coverage(
            "drift known: interval of a change at a point",
            "the interval with drift of the change of output_tokens_per_s at a point contains the true one",
        ),
        coverage("drift known: interval of the change of all points together", "the same over all points together"),
        power(
            "drift known: -5 %: gate at 0 % broken over all points together",
            '`--fail-if "output_tokens_per_s < 0%"` is broken, with 4 earlier sweeps, the noise being shared by the '
            "occasion",
        ),
        false_alarm(
            "drift that goes on: gate on the true change broken",
            "a gate whose bound is the true change of -5 % is broken over all points together; the machine drifts "
            "from sweep to sweep (a random walk), and the compared sweeps are any of them",
        ),
        coverage(
            "drift that goes on: interval of a change at a point",
            "the interval with drift of such sweeps contains the true change at a point",
        ),
        coverage(
            "drift that goes on: interval of the change of all points together", "the same over all points together"
        ),
    ),
    # Whether a figure depends on load.
    "load effects": (
        false_alarm(
            "effect of load told where there is none",
            "any of three figures that do not depend on load is said to rise, fall or differ (Holm); not made where "
            "loads were measured in their order, as load cannot be told from time",
        ),
        false_alarm(
            "not different, where the truth differs by over 10 %",
            "a figure that changes by 15 % from the lowest to the highest load is said not to differ",
        ),
        power("change of 15 % over the loads told", "such a figure is said to rise, fall or differ"),
    ),
    # Rates that settle.
    "stops": (
        coverage(
            "interval of a settled rate, length set beforehand",
            "the interval contains the long-run rate; the warm-up is 2 % of the time",
        ),
        coverage(
            "interval of a settled rate, long warm-up",
            "the same where the rate approaches its value with a time constant of 20 to 40 % of the time",
        ),
        share(
            "warm-up told, length set beforehand",
            "the rate is said not to have settled or to be warming up still; the warm-up is 2 % of the time, but the "
            "rate of a short run changes slowly by chance",
        ),
        share(
            "warm-up told, long warm-up",
            "the same where the rate approaches its value with a time constant of 20 to 40 % of the time",
        ),
        coverage(
            "interval when stopped by [stop] steady",
            "the interval with which `[stop] steady` ended the point contains the long-run rate",
        ),
        false_alarm(
            "off by more than was asked for when stopped",
            "the rate with which `[stop] steady` ended the point misses the long-run rate by more than `within`",
        ),
        share("stopped by [stop] steady within two minutes", "the rule ended the point at all"),
    ),
    # A/A are two engines that do not differ, each measured by three sweeps on three occasions.
    "occasions": (
        false_alarm(
            "3 a side: A/A: a single change told",
            "any change of a rate or a time at any point is told better or worse (Holm over all figures and points)",
        ),
        false_alarm("3 a side: A/A: a count told", "the same of preemptions, which vary from run to run"),
        false_alarm(
            "3 a side: A/A: any figure of all points together told",
            "any figure over all points together is told better or worse (Holm over the figures)",
        ),
        false_alarm("3 a side: A/A: throughput of all points together told", "the same of output_tokens_per_s"),
        false_alarm(
            "3 a side: A/A: gate broken over all points together",
            '`--fail-if "output_tokens_per_s < -5%"` is broken over all points together',
        ),
        false_alarm(
            "3 a side: gate on the true change broken at a point",
            "a gate whose bound is the true change of -5 % is broken at a point",
        ),
        false_alarm("3 a side: gate on the true change broken over all points", "the same over all points together"),
        coverage(
            "3 a side: interval of a change at a point",
            "the interval of the relative change of output_tokens_per_s at a point contains the true one",
        ),
        coverage("3 a side: interval of the change of all points together", "the same over all points together"),
        power(
            "3 a side: -5 %: told worse at a point",
            "output_tokens_per_s at one point is told worse (Holm over all points and figures), the noise being "
            "shared by the occasion",
        ),
        power("3 a side: -5 %: told worse over all points together", "the same over all points together"),
        power(
            "3 a side: -5 %: gate at 0 % broken over all points together",
            '`--fail-if "output_tokens_per_s < 0%"` is broken over all points together; a gate is not corrected',
        ),
        *(
            power(f"{sweeps} a side: -5 %: {told}", f"the same with {sweeps} sweeps on each side")
            for sweeps in MORE_SWEEPS
            for told in ("told worse over all points together", "gate at 0 % broken over all points together")
        ),
    ),
}
TOPICS = {topic.name: topic for topics in PARTS.values() for topic in topics}
