"""Published clusters and fleets as data: what several engines are said to add up to."""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Amount = Annotated[float, msgspec.Meta(gt=0)]


class PublishedPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The engines of one kind; `key` names the document's row with their tokens per second."""

    key: str
    model: str
    engines: Count
    tensor_parallel_size: Count = 1
    precision: str = ""
    stand_in: str = ""  # a shipped model of the same size, where the published weights are not

    @property
    def name(self) -> str:
        ranks = f" TP {self.tensor_parallel_size}" if self.tensor_parallel_size > 1 else ""
        precision = f" {self.precision}" if self.precision else ""
        return f"{self.engines} × {self.model}{precision}{ranks}"

    @property
    def gpus(self) -> int:
        return self.engines * self.tensor_parallel_size


class PublishedCluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parts: Annotated[list[PublishedPart], msgspec.Meta(min_length=1)]

    @property
    def name(self) -> str:
        return " + ".join(part.name for part in self.parts)

    @property
    def gpus(self) -> int:
        return sum(part.gpus for part in self.parts)


class PublishedFleet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GPUs of one kind, of which a document compares figures; `name` begins the keys of its rows."""

    name: str
    gpu: str  # by its name in the table of specifications
    gpus: Count
    memory_gb: Amount  # of each
    power_w: Amount
    engine_gpus_70b: Count  # on which the published 70B engine runs
