"""The report of a forward-pass trace: steps by what they computed, and load and wall time over time."""

from datetime import UTC, datetime

from engine_probe.analysis.forward_passes.passes_summary import PassSummary
from engine_probe.recordings.forward_passes import ForwardPasses
from engine_probe.report.charts.run import pass_charts
from engine_probe.report.document import Document, Section, Table, says, table
from engine_probe.text_format import counted, long_duration, milliseconds

KINDS = ("steps", "time", "wall time p50", "p99", "prompt tokens", "decoding", "KV tokens read")
WITHOUT = (
    "A forward-pass trace has no requests, KV blocks or phases: latencies, KV occupancy and a bottleneck are unknown. "
    "The wall time of a step is that from one output of the model to the next."
)


def forward_pass_document(passes: ForwardPasses) -> Document:
    found = passes.summary()
    begun = datetime.fromtimestamp(passes.table["time_ms"][0].as_py() / 1e3, UTC)
    verdict = Section(
        sentences=(*says([headline(found)]), *says(passes.notes, "caution"), *says([WITHOUT], "soft")),
        charts=lambda: pass_charts(passes),
        tables=(kinds_table(found),),
        shown="always",
    )
    origin = f"from {begun:%Y-%m-%dT%H:%M:%S} UTC on, in {passes.files[0]}"
    return Document("Forward passes", origin, verdict)


def headline(found: PassSummary) -> str:
    beats = f" and {counted(found.heartbeats, 'heartbeat')} of an idle engine" if found.heartbeats else ""
    return (
        f"{counted(found.steps, 'step')}{beats}, {long_duration(found.seconds)} of wall time; at most "
        f"{found.peak_decode_requests:,} requests decoding and {found.peak_queued_requests:,} queued."
    )


def kinds_table(found: PassSummary) -> Table:
    rows = (
        (
            kind.name,
            f"{kind.steps:,}",
            long_duration(kind.seconds),
            milliseconds(kind.median_ms),
            milliseconds(kind.p99_ms),
            f"{kind.prefill_tokens:.4g}",
            f"{kind.decode_requests:.4g}",
            f"{kind.kv_tokens:,.0f}",
        )
        for kind in found.kinds
    )
    return table(("steps that compute", *KINDS), rows)
