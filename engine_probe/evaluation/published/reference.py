"""Tables of published figures and claims: what they hold, and reading them."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.evaluation.published.claims import MEASURES, Claim
from engine_probe.evaluation.published.clusters import PublishedCluster, PublishedFleet
from engine_probe.evaluation.published.figures import FIGURES
from engine_probe.files.config_file import Keys, convert
from engine_probe.files.safe_read import read_toml
from engine_probe.workload.load import CONCURRENCY, USERS

FOLDER = Path(__file__).parent / "tables"

Kind = Literal["measured", "expected", "claim"]
Amount = Annotated[float, msgspec.Meta(gt=0)]


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published figure: a value, or a band of values that is open to one side if it is a limit."""

    model: str
    what: str
    value: Amount | None = None
    low: Amount | None = None
    high: Amount | None = None
    at: Amount | None = None  # the load; None: the figure belongs to the whole curve
    section: str = ""  # of the document; "" as that of the table
    kind: Kind | Literal[""] = ""
    doubt: str = ""
    setting: dict[str, str | int] = {}

    def __post_init__(self) -> None:
        if (self.value is None) == (self.low is None and self.high is None):
            raise ValueError("give either value, or low and high or one of them")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: low has to be the lower one")

    @property
    def ends(self) -> dict[str, float]:
        """Return what can be drawn of it: each number, with what it is beside the value itself."""
        named = {"": self.value, "at least": self.low, "at most": self.high}
        return {name: number for name, number in named.items() if number is not None}

    def ratio(self, measured: float) -> float | None:
        """Return measured / published, for a band by its nearer end. None within the band."""
        if self.value is not None:
            return measured / self.value
        if self.low is not None and measured < self.low:
            return measured / self.low
        return measured / self.high if self.high is not None and measured > self.high else None


class PublishedPrecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Holds a row of a table of precisions; throughput and memory are relative to the first row."""

    name: str
    perplexity: Annotated[float, msgspec.Meta(gt=1)]
    throughput: Amount
    memory: Amount


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    source: str
    document: str = ""  # a name of `documents/`, and the section there that the figures are from
    section: str = ""
    kind: Kind = "measured"
    figures: list[Published] = []
    precisions: list[PublishedPrecision] = []
    claims: list[Claim] = []
    clusters: list[PublishedCluster] = []
    fleets: list[PublishedFleet] = []  # two, which the document compares
    doubt: str = ""
    setting: dict[str, str | int] = {}
    load_in: Literal["concurrent requests", "requests/s"] = "concurrent requests"  # what `at` counts

    def counts(self, unit: str) -> bool:
        """Return whether loads of this unit can be compared; users count as concurrent requests, as in most tables."""
        return unit == self.load_in or (unit == USERS and self.load_in == CONCURRENCY)


SECTIONS: dict[str, Keys] = {
    "": Reference,
    "figures[]": Published,
    "precisions[]": PublishedPrecision,
    "claims[]": Claim,
    "clusters[]": PublishedCluster,
    "fleets[]": PublishedFleet,
}


def shipped() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_reference(name: str) -> Reference:
    """Read a table by its path or the name of a shipped one."""
    path = next((path for path in (Path(name), FOLDER / f"{name}.toml") if path.is_file()), None)
    if path is None:
        raise InputError(f"--reference {name}: no such file, and shipped are {', '.join(shipped())}")
    try:
        document = read_toml(path)
    except InputError as error:
        raise InputError(f"--reference {error}") from error
    try:
        reference = convert(document, Reference, SECTIONS, "a reference")
    except InputError as error:
        raise InputError(f"--reference {path}: {error}") from error
    for number, figure in enumerate(reference.figures):
        check_known(figure.what, FIGURES, f"{path}: figures[{number}].what")
    if len(reference.fleets) not in (0, 2):
        raise InputError(f"--reference {path}: fleets has {len(reference.fleets)} entries: two are compared, or none")
    if (reference.clusters or reference.fleets) and not reference.document:
        raise InputError(f"--reference {path}: document is missing: clusters and fleets name its rows by their keys")
    for number, claim in enumerate(reference.claims):
        check_known(claim.measure, MEASURES, f"{path}: claims[{number}].measure")
    return reference


def check_known(name: str, known: Collection[str], place: str) -> None:
    if name not in known:
        raise InputError(f"--reference {place} is {name!r}: known are {', '.join(known)}")
