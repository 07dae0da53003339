"""Two fleets of GPUs that a document compares: its figures, and the same from specifications and its own rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from engine_probe.evaluation.published.clusters import PublishedFleet
from engine_probe.evaluation.published.documents import PublishedDocument, Stated
from kernels_bench.devices.specifications import Specification, specification_of

Range = tuple[float, float]  # low and high; the same for a single value

# Rows of both fleets by the end of their keys, with the key of their published ratio, which is second / first.
KINDS = (
    ("memory_gb", "GPU memory", "memory_ratio"),
    ("bandwidth_tb_s", "memory bandwidth", "bandwidth_ratio"),
    ("interconnect", "interconnect, both directions", "interconnect_ratio"),
    ("7b_tokens_s", "7B BF16", "ratio_7b"),
    ("70b_tokens_s", "70B BF16", "ratio_70b"),
    ("power_w", "power of the GPUs", "power_saving"),
    ("price", "price", "price_ratio"),
)
COSTS = (
    ("7b_tokens_s", "cost per token, 7B", "cost_ratio_7b"),
    ("70b_tokens_s", "cost per token, 70B", "cost_ratio_70b"),
)


@dataclass(frozen=True)
class FleetRow:
    """A figure of both fleets: as published, and as computed with its derivation."""

    what: str
    unit: str
    published: tuple[str, str]
    published_ratio: str
    computed: tuple[Range | None, Range | None]
    derivation: str = ""
    doubt: str = ""

    @property
    def ratio(self) -> Range | None:
        """Return the second fleet's figure over the first one's. None if one is not computed."""
        first, second = self.computed
        return (second[0] / first[1], second[1] / first[0]) if first and second else None


Fleets = Sequence[PublishedFleet]


def fleet_rows(document: PublishedDocument, fleets: Fleets) -> list[FleetRow]:
    """Return the rows of a comparison of two fleets."""
    assert len(fleets) == 2
    rows = [one_kind(document, fleets, *kind) for kind in KINDS]
    return [*rows, *(cost_row(document, fleets, *cost) for cost in COSTS)]


def one_kind(document: PublishedDocument, fleets: Fleets, end: str, what: str, ratio: str) -> FleetRow:
    found = [stated_of(document, fleet, end) for fleet in fleets]
    claim = document.stated(ratio)
    derived = [computed(fleet, end) for fleet in fleets]
    whole: list[Range | None] = [None if value is None else (value, value) for value, _ in derived]
    if end.endswith("tokens_s") or end == "price":  # no specification has them: the document's own are compared
        whole = [range_of(row) for row in found]
    words = "; ".join(derivation for _, derivation in derived if derivation)
    if end == "70b_tokens_s":
        words = per_gpu_words(fleets, [range_of(row) for row in found])
    doubts = dict.fromkeys(row.doubt for row in (*found, claim) if row.doubt)
    unit = next((row.unit for row in found if row.unit), "")
    return FleetRow(
        what,
        unit,
        (stated_words(found[0]), stated_words(found[1])),
        stated_words(claim, unit=True),
        (whole[0], whole[1]),
        words,
        "; ".join(doubts),
    )


def cost_row(document: PublishedDocument, fleets: Fleets, end: str, what: str, ratio: str) -> FleetRow:
    """Return the price of the whole fleet over the tokens per second of all its engines."""
    costs, words = [], []
    for fleet in fleets:
        price, rate = (range_of(stated_of(document, fleet, each)) for each in ("price", end))
        assert price is not None
        assert rate is not None
        engines = fleet.gpus / (fleet.engine_gpus_70b if end.startswith("70b") else 1)
        costs.append((price[0] / (engines * rate[1]), price[1] / (engines * rate[0])))
        words.append(f"{range_words(price)} / ({engines:g} × {rate[0]:,.0f})")
    claim = document.stated(ratio)
    return FleetRow(
        what,
        "USD per token/s",
        ("1 ×", stated_words(claim, unit=True)),
        stated_words(claim, unit=True),
        (costs[0], costs[1]),
        "; ".join(words),
        claim.doubt,
    )


def stated_of(document: PublishedDocument, fleet: PublishedFleet, end: str) -> Stated:
    rows = (row for section in document.sections for row in section.stated)
    names = {f"{fleet.name}_{end}", f"{fleet.name}_{end}_gb_s"}
    return next(row for row in rows if row.key in names)


def computed(fleet: PublishedFleet, end: str) -> tuple[float | None, str]:
    """Return the figure of a fleet by specifications, and how it comes about. None where these do not give it."""
    card = specification_of(fleet.gpu)
    match end:
        case "memory_gb":
            return fleet.gpus * fleet.memory_gb, f"{fleet.gpus} × {fleet.memory_gb:g} GB"
        case "power_w":
            return fleet.gpus * fleet.power_w, f"{fleet.gpus} × {fleet.power_w:g} W"
        case "bandwidth_tb_s" if card is not None:
            return fleet.gpus * card.memory_gb_per_s / 1e3, f"{fleet.gpus} × {card.memory_gb_per_s:g} GB/s"
        case "interconnect" if card is not None:
            return link(card)
    return None, ""


def link(card: Specification) -> tuple[float | None, str]:
    """Return the gigabytes per second of both directions of a card's fastest link."""
    if card.nvlink_gb_per_s:
        return card.nvlink_gb_per_s, "NVLink"
    both = card.ceiling("pcie", "both")
    return (None, "") if both is None else (both / 1e9, f"PCIe {card.pcie_generation}.0 x{card.pcie_width}")


def per_gpu_words(fleets: Fleets, found: Sequence[Range | None]) -> str:
    rates = [one[0] / fleet.engine_gpus_70b for fleet, one in zip(fleets, found, strict=True) if one]
    each = " against ".join(f"{rate:,.0f}" for rate in rates)
    return f"per GPU {each}: {rates[1] / rates[0]:.2g} times"


def range_of(row: Stated) -> Range | None:
    ends = [end for end in (row.value, row.low, row.high) if isinstance(end, int | float)]
    return (min(ends), max(ends)) if ends else None


def range_words(found: Range) -> str:
    low, high = (f"{end:,.4g}" if end < 1e4 else f"{end:,.0f}" for end in found)
    return low if low == high else f"{low} to {high}"


def stated_words(row: Stated, unit: bool = False) -> str:
    """Return what a document states: a value, words or a band, open to one side if it is a limit."""
    found = range_of(row)
    if isinstance(row.value, str):
        return row.value
    if found is None:
        return "-"
    words = range_words(found)
    if row.value is None and (row.low is None or row.high is None):
        words = f"at {'least' if row.low is not None else 'most'} {words}"
    return f"{words} {'×' if row.unit == 'times' else row.unit}".strip() if unit else words
