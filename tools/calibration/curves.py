"""What the analysis of a curve concludes from a simulated sweep, as claims."""

from collections.abc import Iterator

from engine_probe.analysis.curve.regions import letter
from engine_probe.analysis.curve.saturation import Level, Saturation, saturation
from tools.calibration.claims import NOT_FITTED, Claim
from tools.calibration.oracle import powers
from tools.calibration.simulated.noise import LEVEL_BY_LEVEL, SHARED
from tools.calibration.simulated.shapes import HAIR, TRACE, Shape
from tools.calibration.simulated.sweeps import DRAINED, Sweep

LARGE = 0.05  # a loss that must be told, and that an operating point must not have


def curve_claims(sweep: Sweep) -> Iterator[Claim]:
    """Yield every claim that a report makes of one sweep."""
    found = saturation(sweep.levels())
    yield from growth_claims(found, sweep.shape)
    yield from behind_claims(found, sweep.shape)
    yield from region_claims(found, sweep.shape)
    yield from interval_claims(found, sweep)
    if sweep.repeats > 1:
        yield from told_apart_claims(found, sweep.shape, sweep.noisiest)
        yield from fall_claims(found, sweep.shape)
        if sweep.condition not in DRAINED:
            yield from other_shape_claims(found, sweep)
    yield from operating_claims(found, sweep.shape)


def growth_claims(found: Saturation, shape: Shape) -> Iterator[Claim]:
    """Yield where growth ends, and where the share of a request begins to shrink."""
    last, end = found.levels[-1].load, found.saturation
    small, none = shape.end_of_growth
    inside = None if end is None else end.low <= none and end.high >= small and small <= last
    yield Claim("end of growth in its range", inside)
    yield Claim("end of growth, p % sure", inside, None if end is None else end.sureness)
    if small > last:
        yield Claim("end of growth where there is none", end is not None)
    grows = any("still grows" in note for note in found.notes)
    yield Claim("still grows at the most that was tried", none > last if grows else None)
    spare = found.equilibrium
    limit = shape.proportional_limit
    within = None if spare is None else spare.low * (1 - TRACE) <= limit <= spare.high * (1 + TRACE)
    yield Claim("end of spare capacity in its range", within)


def behind_claims(found: Saturation, shape: Shape) -> Iterator[Claim]:
    """Yield what throughput does behind the end of growth."""
    if found.saturation is None or found.growth is None:
        return
    last = found.levels[-1].load
    loss, falls, stays = shape.loss_at(last), found.growth.falls, found.growth.stays
    if falls > stays:
        yield Claim("falls behind it, p % sure", loss > HAIR, falls)
    else:
        yield Claim("stays level behind it, p % sure", shape.end_of_growth[0] <= last and loss <= HAIR, stays)


def region_claims(found: Saturation, shape: Shape) -> Iterator[Claim]:
    """Yield the region of each level, with the probability as printed."""
    for level in found.levels:
        name, _, percent = letter(found, level.load).partition(" ")
        if found.region(level.load):
            yield Claim("region not told", found.region(level.load) == "unclear")
        if percent:
            yield Claim(f"region {name}, p % sure", in_region(name, shape, level.load), int(percent[:-1]) / 100)


def in_region(name: str, shape: Shape, load: float) -> bool:
    """Return whether the sentence that explains a region is true of a load."""
    ended = shape.end_of_growth[0] <= load
    if name == "A":
        return load <= shape.proportional_limit
    if name == "B":
        return shape.proportional_limit < load and not ended
    if name == "B+":
        return ended and shape.loss_at(load) <= HAIR
    return shape.loss_at(load) > HAIR


def interval_claims(found: Saturation, sweep: Sweep) -> Iterator[Claim]:
    for level in found.levels:
        interval, true = found.interval(level), sweep.shape.at(level.load) * sweep.occasion
        contains = None
        if interval.low is not None and interval.high is not None:
            contains = interval.low <= true <= interval.high
        yield Claim("interval of a level", contains)
        if level is found.best:
            yield Claim("interval of the best level", contains)
        if level.load == sweep.noisiest:
            yield Claim("interval of the noisiest level", contains)


def told_apart_claims(found: Saturation, shape: Shape, noisiest: float | None = None) -> Iterator[Claim]:
    """Yield for each level whether it is told apart from the best one, and whether it should be."""
    if found.best is None or found.noise is None:
        return
    highest, alike = shape.at(found.best.load), found.not_different
    for level in found.levels:
        if level is found.best:
            continue
        told, true = level not in alike, shape.at(level.load)
        if true >= highest * (1 - TRACE):
            yield Claim("told apart from the best level, where it is none the worse", told)
            if level.load == noisiest:
                yield Claim("the noisiest level told apart, where it is none the worse", told)
        elif true <= highest * (1 - LARGE):
            yield Claim("5 % or more below the best level, and told apart", told)


def fall_claims(found: Saturation, shape: Shape) -> Iterator[Claim]:
    last, highest = shape.at(found.levels[-1].load), best_rate(found.levels, shape)
    told = found.fallen is not None
    if last >= highest * (1 - TRACE):
        yield Claim("fall told by repeats, where there is none", told)
    elif last <= highest * (1 - LARGE):
        yield Claim("fall of 5 % or more told by repeats", told)


def other_shape_claims(found: Saturation, sweep: Sweep) -> Iterator[Claim]:
    """Yield whether another shape is told, and whether levels are told to lie off the curve: that or shared noise."""
    told = any("has another shape" in note or "no knee and no regions" in note for note in found.notes)
    off = told or any("deviate from the fitted curve" in note for note in found.notes)
    if sweep.shape.name in NOT_FITTED:
        known, unknown = powers(sweep)
        yield Claim("another shape, where it is one", told, unknown)
        yield Claim(f"another shape, where it is {sweep.shape.name}", told, unknown)
        yield Claim("off the fitted curve, where it is another shape", off, known)
    else:
        yield Claim("another shape, where it is none", told)
        if sweep.condition not in (SHARED, LEVEL_BY_LEVEL):
            yield Claim("off the fitted curve, where it is no other shape and repeats share nothing", off)


def operating_claims(found: Saturation, shape: Shape) -> Iterator[Claim]:
    """Yield whether operating at a load that the report names costs more than it should."""
    enough = (1 - LARGE) * best_rate(found.levels, shape)
    named = found.saturation
    costly = None if named is None else shape.at(named.load) < enough
    yield Claim("operating where growth is said to end costs over 5 %", costly)
    if found.best:
        yield Claim("operating at the best measured level costs over 5 %", shape.at(found.best.load) < enough)
    if found.operating:
        yield Claim("operating at the operating point costs over 5 %", shape.at(found.operating.load) < enough)


def best_rate(levels: tuple[Level, ...], shape: Shape) -> float:
    """Return the highest true rate of a measured level."""
    return max(shape.at(level.load) for level in levels)
