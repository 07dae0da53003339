"""Advice from a sweep's own rows, by role; each sentence names its rows.

No advice rests on a difference that is not significant (without repeats: on a region less than 90 % certain, or a
difference below 10 %), on a pool that was never full, or on a cause that does not show in every repeat.
"""

from collections.abc import Sequence
from itertools import chain

from engine_probe.analysis.advice import architect, developer, hardware_maker, provider
from engine_probe.analysis.advice.curve_case import Advice, Case

BY_ROLE = (developer, architect, provider, hardware_maker)


def advice(cases: Sequence[Case]) -> list[Advice]:
    """Return the advice in the order of roles; of each role first that from single curves, then from several."""
    found = list[Advice]()
    for role in BY_ROLE:
        alone = chain.from_iterable(rule(case) for rule in role.OF_ONE for case in cases)
        together = chain.from_iterable(rule(cases) for rule in role.OF_SEVERAL)
        found += (Advice(role.ROLE, text, rows) for text, rows in chain(alone, together))
    return found
