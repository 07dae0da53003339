"""What an engine answers before the recording begins."""

from __future__ import annotations

import msgspec

from engine_probe.workload.lengths import DescriptionError, Positive, PositiveFloat


class WarmUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of each point's own workload, under another seed: so many requests, or for so long, whichever ends first.

    What is then in flight is aborted. With neither, an engine answers one short request when it starts; with `none`
    not even that.
    """

    requests: Positive | None = None
    seconds: PositiveFloat | None = None
    none: bool = False

    def __post_init__(self) -> None:
        if self.none and self.own_workload:
            raise DescriptionError("none = true contradicts requests and seconds: leave one of them out")

    @property
    def own_workload(self) -> bool:
        return self.requests is not None or self.seconds is not None
