"""What set the pace of each step of a prediction: the longest of the terms that its twin added up.

No device was timed, but a twin's step time is a sum of known terms, and `run.json` holds their prices. So each step's
terms follow from what it computed. A datasheet's tell weights, KV cache, products and collectives apart; prices that
were fitted to recordings tell the device from the host only, and those of measured kernels the KV cache from the rest.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from engine_probe.analysis.batch.step_prices import every_step
from engine_probe.analysis.statistics.arrays import Integers, Reals
from engine_probe.analysis.step.bottleneck import COMPUTE, HOST, KV_READING, LINKS, MODEL, WEIGHT_READING, PredictedPace
from engine_probe.engine.twin.step_times import TERMS, Price, StepTimes, interpolated, padding

NAMES = tuple(TERMS)
PADDING, PROMPT_TOKENS, ANSWER_TOKENS, OF_KV = (
    NAMES.index(name) for name in ("padding", "prompt token", "answer token", "answer attention")
)
WEIGHTS, KV_CACHE, PRODUCTS, COLLECTIVES = "reading weights", "reading the KV cache", "computing", "collectives"
DEVICE, HOST_PART, OTHER = "the model", "the host", "the other kernels"


def predicted_pace(facts: Mapping[str, Any], iterations: pa.Table, requests: pa.Table) -> PredictedPace | None:
    """Return the longest term of each predicted step. None of a measured run, or of a prediction without prices."""
    twin = facts.get("predicted")
    if not isinstance(twin, dict):
        return None
    try:
        times = msgspec.convert(twin.get("step_times"), StepTimes)
    except msgspec.ValidationError:  # written by an earlier version, or damaged: the rest can still be read
        return None
    if not (times.prices or times.host):
        return None
    counts = every_step(dict(facts), iterations, requests).counts
    counts = counts * (iterations["scheduled_tokens"].to_numpy() > 0)[:, np.newaxis]  # empty ones take no time
    computed = counts[:, PROMPT_TOKENS] + counts[:, ANSWER_TOKENS]
    counts[:, PADDING] = [padding(int(tokens), times.graph_sizes) if tokens else 0 for tokens in computed]
    of_tables = of_tokens(times, computed + counts[:, PADDING])
    terms = datasheet_terms(times, counts, of_tables) if twin.get("bounds") else fitted_terms(times, counts, of_tables)
    return PredictedPace(longest(terms), terms)


def datasheet_terms(times: StepTimes, counts: Reals, reduced: Reals) -> dict[str, Reals]:
    """Return the terms of the least times: of `step` the weights, and of tokens the KV cache and recurrent states."""
    weights = total({"step": times.prices.get("step", Price(0.0))}, counts)
    return {
        WEIGHTS: weights,
        KV_CACHE: total(times.prices, counts) - weights,
        PRODUCTS: total(times.beside or {}, counts),
        COLLECTIVES: reduced,
    }


def fitted_terms(times: StepTimes, counts: Reals, products: Reals) -> dict[str, Reals]:
    """Return the device's and the host's part; of measured kernels, which have none of a host, the KV cache's."""
    device = total(times.prices, counts) + products
    if not times.sources:
        return {DEVICE: device, HOST_PART: total(times.host, counts)}
    cache = total({NAMES[OF_KV]: times.prices.get(NAMES[OF_KV], Price(0.0))}, counts)
    return {KV_CACHE: cache, OTHER: device - cache}


LIMIT_OF = {
    WEIGHTS: WEIGHT_READING,
    KV_CACHE: KV_READING,
    PRODUCTS: COMPUTE,
    COLLECTIVES: LINKS,
    DEVICE: MODEL,
    HOST_PART: HOST,
    OTHER: MODEL,
}


def longest(terms: Mapping[str, Reals]) -> Integers:
    """Return the limit that the longest term of each step is; weights and KV cache are read one after the other."""
    if PRODUCTS not in terms:
        names, times = list(terms), list(terms.values())
    else:
        reading = terms[WEIGHTS] + terms[KV_CACHE]
        mostly_weights = terms[WEIGHTS] >= terms[KV_CACHE]
        names = list(terms)
        times = [
            np.where(mostly_weights, reading, 0.0),
            np.where(mostly_weights, 0.0, reading),
            terms[PRODUCTS],
            terms[COLLECTIVES],
        ]
    limits = np.array([LIMIT_OF[name] for name in names])
    found: Integers = limits[np.argmax(times, axis=0)]
    return found


def total(prices: Mapping[str, Price], counts: Reals) -> Reals:
    """Return the sum of these terms for each step."""
    found: Reals = counts @ np.array([prices[name].ns if name in prices else 0.0 for name in NAMES])
    return found


def of_tokens(times: StepTimes, computed: Reals) -> Reals:
    """Return the time that a table over the tokens of a step gives. Zeros without one."""
    if not times.matrices:
        return np.zeros(len(computed))
    tokens, of_step = np.unique(computed, return_inverse=True)
    return np.array([interpolated(times.matrices, each) for each in tokens])[of_step]
