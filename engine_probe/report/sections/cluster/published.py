"""Published clusters beside measured ones, and two fleets of GPUs compared: each figure with its arithmetic."""

from collections.abc import Iterator, Sequence

from engine_probe.evaluation.published.beside_clusters import BesideCluster, beside_clusters
from engine_probe.evaluation.published.documents import read_document
from engine_probe.evaluation.published.fleets import FleetRow, Range, fleet_rows, range_words
from engine_probe.evaluation.published.reference import Reference
from engine_probe.recordings.cluster_levels import ClusterLevel
from engine_probe.report.document import Column, Section, says, table
from engine_probe.text_format import capitalized, rate_words

CLUSTER_COLUMNS = (
    Column("configuration", words=True),
    Column("GPUs", room="spare"),
    Column("published, output tokens/s", short="published"),
    Column("published per GPU", short="per\nGPU"),
    Column("measured, output tokens/s", short="measured"),
    Column("measured per GPU", short="per\nGPU", room="spare"),
    Column("measured / published", short="ratio"),
    Column("settings that differ", words=True, short="differs in"),
)
NO_GPUS = "on CPUs"


def published_clusters(reference: Reference, levels: Sequence[ClusterLevel]) -> Iterator[Section]:
    """Yield the clusters that a reference publishes and the fleets that it compares; nothing if it has neither."""
    if not reference.document:
        return
    document = read_document(reference.document)
    if reference.clusters:
        found = beside_clusters(reference.clusters, reference.setting, document, levels)
        source = says([f"{reference.source}. {reference.doubt}"], "soft")
        rows = map(cluster_cells, found)
        title = f"Published: {reference.title}"
        doubts = says(dict.fromkeys(doubt for pair in found for doubt in doubts_of(pair)), "caution")
        tables = (table(CLUSTER_COLUMNS, rows),)
        yield Section(title, sentences=(*source, *doubts), tables=tables, shown="always", asked=True)
    if reference.fleets:
        yield fleets_section(reference, fleet_rows(document, reference.fleets))


def cluster_cells(pair: BesideCluster) -> list[str]:
    total, gpus = sum(pair.values), pair.published.gpus
    found = pair.measured
    rate = None if found is None else found.output_tokens_per_s.mean
    return [
        pair.published.name,
        str(gpus),
        " + ".join(f"{value:,.0f}" for value in pair.values),
        f"{total / gpus:,.0f}",
        "not measured" if rate is None else rate_words(rate),
        "-" if found is None or rate is None else rate_words(rate / found.gpus) if found.gpus else NO_GPUS,
        "-" if pair.ratio is None else f"{pair.ratio:.2f}",
        ", ".join(pair.differs) or ("none known" if found else "-"),
    ]


def doubts_of(pair: BesideCluster) -> Iterator[str]:
    for part, row in zip(pair.published.parts, pair.stated, strict=True):
        if row.doubt:
            yield f"{part.name}: {row.doubt}."


def fleets_section(reference: Reference, rows: Sequence[FleetRow]) -> Section:
    first, second = (f"{fleet.gpus} × {fleet.gpu.removeprefix('NVIDIA ')}" for fleet in reference.fleets)
    columns = (
        Column("figure", words=True),
        Column(f"{first}, published", short=f"{first}"),
        Column(f"{second}, published", short=f"{second}"),
        Column("ratio,\npublished"),
        Column("ratio,\ncomputed"),
        Column(f"{first}, computed", room="page"),
        Column(f"{second}, computed", room="page"),
        Column("computed from", words=True, room="page"),
    )
    note = (
        "Computed: of the cards' specifications times their number; of rates and prices, which no specification has, "
        "from the document's own figures. Ratio: second over first; a band where a figure is one."
    )
    cells = [
        [
            f"{row.what}, {row.unit}" if row.unit else row.what,
            *row.published,
            row.published_ratio,
            "-" if row.ratio is None else times_words(row.ratio),
            *("-" if found is None else range_words(found) for found in row.computed),
            row.derivation or "-",
        ]
        for row in rows
    ]
    doubts = says((f"{capitalized(row.what)}: {row.doubt}." for row in rows if row.doubt), "caution")
    title = f"Published: {first} against {second}"
    return Section(title, sentences=doubts, tables=(table(columns, cells, note=note),), shown="always", asked=True)


def times_words(ratio: Range) -> str:
    low, high = (f"{end:.3g}" for end in ratio)
    return f"{low} ×" if low == high else f"{low} to {high} ×"
