"""Requests that an engine answers before the recording begins."""

from typing import Annotated

import msgspec

from engine_probe.files.key_meaning import about
from engine_probe.workload.lengths import DescriptionError, Positive, PositiveFloat


class WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests of each point's own workload, under another seed, before the recording begins.

    Whichever limit is reached first ends it, and what is in flight is aborted. Without this section an engine answers
    one short request when it starts.
    """

    requests: Annotated[Positive | None, about("Number of warm-up requests.", 8)] = None
    seconds: Annotated[PositiveFloat | None, about("Seconds of warm-up.", 5.0)] = None
    none: Annotated[bool, about("Skip even the one short request with which an engine starts.", True)] = False

    def __post_init__(self) -> None:
        if self.none and self.own_workload:
            raise DescriptionError("none = true contradicts requests and seconds: leave one of them out")

    @property
    def own_workload(self) -> bool:
        return self.requests is not None or self.seconds is not None
