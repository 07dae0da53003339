"""The next setting of a search, suggested by Optuna from the trials so far.

The first settings are of a Sobol sequence, which covers the space evenly; the others are suggested by a model of the
trials. Each suggestion has a study of its own, filled with all finished trials and seeded by its number: it depends on
the seed and the trials alone. With so few trials Optuna's Gaussian process finds more than its tree-structured
estimator (docs/results/sweeps/argument_search.md says how often each comes near the best).
"""

import itertools
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

from engine_probe.analysis.compare.argument_trials import Score, Trial
from engine_probe.errors import InputError
from engine_probe.sweep.argument_search.space import ArgumentSearch, Setting, Span

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

NEEDED = ("optuna", "torch")  # torch comes with vLLM
START_EACH = 2  # trials for each argument that cover the space before the model is used
MOST_STEPS = 16  # of a range that is no continuous one to the model
TRIES = 3  # for a setting that was not tried
MOST_LISTED = 20_000  # settings of a small space, which can be listed
WITHIN_SLO, STARTS = "within the SLO", "starts"  # our constraints, which are met at zero or below
MOST_STRAIN = 10.0  # beyond which a limit that is broken is no farther away


def check_installed() -> None:
    """Refuse a search without Optuna, before anything starts."""
    for name in NEEDED:
        if find_spec(name) is None:
            raise InputError(f'search needs {name}, which is not installed here: pip install "engine-probe[search]"')


def suggest(search: ArgumentSearch, tried: Sequence[Trial]) -> Setting | None:
    """Return a setting that was not tried. None if all were."""
    done = {trial.name for trial in tried}
    first = [spread(search, len(tried))] if len(tried) < START_EACH * len(search.arguments) else []
    for setting in itertools.chain(first, asked(search, tried)):
        if Trial("", setting, 0, None).name not in done:
            return setting
    return untried(search, done, Random(f"{search.seed}/{len(tried)}"))


def spread(search: ArgumentSearch, number: int) -> dict[str, Any]:
    """Return a setting by its number in a sequence that covers the space evenly."""
    from scipy.stats.qmc import Sobol

    shares = Sobol(len(search.arguments), seed=search.seed).random_base2(number.bit_length())[number]
    return {
        name: at_share(span, float(share)) for (name, span), share in zip(search.arguments.items(), shares, strict=True)
    }


def at_share(span: Span, share: float) -> Any:
    """Return the value at a share, from 0 to below 1, of the way through a span."""
    if span.choices is not None:
        return span.choices[int(share * len(span.choices))]
    assert span.low is not None
    assert span.high is not None
    way = span.low * (span.high / span.low) ** share if span.log else span.low + share * (span.high - span.low)
    return nearest(span, way)


def nearest(span: Span, value: float) -> int | float:
    """Return the value of a range that is nearest to this one."""
    assert span.low is not None
    if span.count is None:
        return value
    step = span.step or 1
    found = span.low + min(max(round((value - span.low) / step), 0), span.count - 1) * step
    return int(found) if span.is_whole else found


def asked(search: ArgumentSearch, tried: Sequence[Trial]) -> Iterator[dict[str, Any]]:
    """Yield what Optuna suggests; each is another one, as long as it finds others."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = {name: distribution(span) for name, span in search.arguments.items()}
    seed = Random(f"{search.seed}/{len(tried)}").getrandbits(32)
    study = optuna.create_study(direction="maximize", sampler=sampler(seed))
    known = [
        trial for trial in tried if all(span.holds(trial.setting[name]) for name, span in search.arguments.items())
    ]
    study.add_trials(past_trials(search, known, space))
    for _ in range(TRIES):
        parameters = study.ask(space).params
        yield {name: value_of(span, parameters[name]) for name, span in search.arguments.items()}


def sampler(seed: int) -> "BaseSampler":
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)


def past_trials(
    search: ArgumentSearch, tried: Sequence[Trial], space: dict[str, "BaseDistribution"]
) -> Iterator["FrozenTrial"]:
    """Yield the trials as Optuna takes them, with the logarithm of the objective.

    Arguments multiply throughput, and so does the noise of a measurement: both add up in logarithms, which the model
    assumes. A failed trial breaks a limit of its own. Objective and SLO, of which it tells nothing, are put at their
    medians: at their worst they would draw the model away from the settings around it.
    """
    from optuna.trial import create_trial

    scores = [trial.score for trial in tried if trial.score]
    least = min((score.value for score in scores if score.value > 0), default=1.0)
    typical_value = median([logarithm(score, least) for score in scores] or [0.0])
    typical_excess = median([excess(score) for score in scores] or [0.0])
    any_failed, any_limited = len(scores) < len(tried), any(trial.limited for trial in tried)
    for trial in tried:
        limits = {}
        if any_limited:
            limits[WITHIN_SLO] = excess(trial.score) if trial.score else typical_excess
        if any_failed:
            limits[STARTS] = -1.0 if trial.score else 1.0
        yield create_trial(
            params={
                name: trial.setting[name] if span.choices is None else json.dumps(trial.setting[name])
                for name, span in search.arguments.items()
            },
            distributions=space,
            value=logarithm(trial.score, least) if trial.score else typical_value,
            constraints=limits or None,
        )


def logarithm(score: Score, least: float) -> float:
    """Return the logarithm of the objective; a setting without any counts as half of the least that others had."""
    return math.log(max(score.value, least / 2))


def excess(score: Score) -> float:
    """Return how far a trial is beyond the SLO; zero or less within it."""
    return 1.0 if score.strain is None else min(score.strain, MOST_STRAIN) - 1


def distribution(span: Span) -> "BaseDistribution":
    """Return a span as the model sees it: a range of many steps as a continuous one, which is much faster."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if span.choices is not None:
        return CategoricalDistribution([json.dumps(choice) for choice in span.choices])
    assert span.low is not None
    assert span.high is not None
    last = span.high if span.count is None else nearest(span, span.high)
    if span.count is None or span.count > MOST_STEPS:
        return FloatDistribution(span.low, last, log=span.log)
    if span.is_whole:
        step = int(span.step or 1)
        return IntDistribution(int(span.low), int(last), log=span.log, step=step)
    return FloatDistribution(span.low, last, log=span.log, step=span.step)


def value_of(span: Span, parameter: Any) -> Any:
    """Return the value that the model means."""
    return json.loads(parameter) if span.choices is not None else nearest(span, parameter)


def untried(search: ArgumentSearch, done: set[str], chance: Random) -> Setting | None:
    """Return a random setting that was not tried. None if all were, or too many to list were suggested again."""
    total = search.settings
    if total is None or total > MOST_LISTED:
        return None
    listed = [span.listed for span in search.arguments.values()]
    every = (dict(zip(search.arguments, values, strict=True)) for values in itertools.product(*listed))
    left = [setting for setting in every if Trial("", setting, 0, None).name not in done]
    return chance.choice(left) if left else None
