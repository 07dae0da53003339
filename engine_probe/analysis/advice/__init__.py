"""What a sweep's own rows advise, by role. Each sentence names its rows; where they are thin nothing is said.

Thin is: a difference that repeats do not tell from chance (without repeats: a region less than nine tenths sure, a
difference below a tenth), a pool that was never full, a cause that does not show in every repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from engine_probe.analysis.advice import architect, developer, hardware_maker, provider
from engine_probe.analysis.advice.curve_case import Advice, Case

BY_ROLE = (developer, architect, provider, hardware_maker)


def advice(cases: Sequence[Case]) -> list[Advice]:
    """In the order of roles; of each first what one curve says, then what several say together."""
    found = list[Advice]()
    for role in BY_ROLE:
        alone = chain.from_iterable(rule(case) for rule in role.OF_ONE for case in cases)
        together = chain.from_iterable(rule(cases) for rule in role.OF_SEVERAL)
        found += (Advice(role.ROLE, text, rows) for text, rows in chain(alone, together))
    return found
