"""Where the forward's time goes: a window of operators by kind, by layer and by name."""

from collections.abc import Iterator, Mapping
from typing import Any

from engine_probe.analysis.step.operators import BETWEEN, DEVICE, GAP, OTHER, OperatorTimes
from engine_probe.report.document import Bar, Bars, Part, Section, Sentence, Table, says, table
from engine_probe.text_format import capitalized, counted, duration

TITLE = "Where the forward's time goes"
PAINTS = {
    "attention": "c1",
    "matrix product": "c0",
    "experts": "c0 pale",
    "compiled code": "c4",
    "normalisation": "c2",
    "activation": "c2 pale",
    "rotary embedding": "c2 pale",
    "KV cache": "c1 pale",
    "collective": "c3",
    "sampling": "c6",
    "copy": "c6 pale",
    "launch": "c4 pale",
    "wait": "c7 pale",
    GAP: "none",
}
OTHERS_PAINT, LEAST_PART = "c5", 0.005
MOST_NAMES, FIRST_NAMES, NAME_CHARACTERS = 40, 8, 60
LITTLE_OTHER = 0.1  # of the forward; more of unknown kinds is a caution


def operators_section(found: OperatorTimes | None, facts: dict[str, Any]) -> Section:
    """Return what the window of operators shows, and why it shows less than was asked for."""
    missing = says(missing_words(facts), "caution")
    if found is None:
        return Section(TITLE, sentences=missing)
    return Section(
        TITLE,
        sentences=(*says(time_words(found)), *other_words(found), *missing, *says(window_words(facts), "soft")),
        bars=(operator_bars(found, {"forward": found.kinds}, "Time by kind of operator"),),
        parts=(parts_section(found),),
        shown="always",  # somebody asked for the window
    )


def parts_section(found: OperatorTimes) -> Section:
    """Return the forward by layer, the other phases of the step, and the longest operators."""
    layers = {f"  {BETWEEN if name == BETWEEN else f'in {name}'}": kinds for name, kinds in found.layers.items()}
    phases = {name: kinds for name, kinds in found.phases.items() if name != "forward"}
    return Section(
        "By layer, phase and operator",
        bars=(operator_bars(found, {**layers, **phases}, "Time in layers of the forward and in other phases"),),
        tables=(kind_table(found), name_table(found)),
    )


def missing_words(facts: dict[str, Any]) -> Iterator[str]:
    window = facts.get("operators")
    windows = [rank["operators"] for rank in facts.get("workers", {}).get("ranks", ()) if rank.get("operators")]
    if not window or not windows:
        return
    asked = f"{window['steps']}@{window['first']}"
    for failure in dict.fromkeys(rank["failure"] for rank in windows if rank["failure"]):
        yield f"The window of operators {asked} was not recorded: {failure.rstrip('.')}."
    steps = min(rank["steps"] for rank in windows)
    if not steps and not any(rank["failure"] for rank in windows):
        yield f"The window of operators {asked} was not reached: the recording ended before step {window['first']:,}."
    elif 0 < steps < window["steps"]:
        yield f"The recording ended within the window of operators: {steps} of {window['steps']} steps were profiled."


def window_words(facts: dict[str, Any]) -> Iterator[str]:
    """Say what the window changes, and what it does not show."""
    yield (
        "Latencies, throughput, goodput, stalls and phases leave out what the window touches; the bottleneck includes "
        "its steps."
    )
    windows = [rank["operators"] for rank in facts.get("workers", {}).get("ranks", ()) if rank.get("operators")]
    for reason in dict.fromkeys(rank["layers_missing"] for rank in windows if rank["layers_missing"]):
        yield f"Layers were not told apart: {reason}."


def time_words(found: OperatorTimes) -> Iterator[str]:
    where = "by the GPU's kernels" if found.place == DEVICE else "by operators on the worker's thread"
    shares = [f"{kind_words(kind)} {found.share(kind):.0%}" for kind in found.kinds if found.share(kind) >= LEAST_PART]
    ranks = f" on {found.ranks} ranks" if found.ranks > 1 else ""
    yield f"Of the forward's time, {where}: {', '.join(shares)}."
    yield (
        f"An average forward took {duration(found.forward_ns)} in {counted(found.steps, 'profiled step')}{ranks}, "
        f"{found.with_prefill or 'none'} with prompt tokens, {found.mean_running:.1f} requests running."
    )


def other_words(found: OperatorTimes) -> Iterator[Sentence]:
    share = found.share(OTHER)
    names = [each.name for each in found.longest if each.kind == OTHER]
    if share >= LEAST_PART:
        text = f"{share:.1%} of it is of unknown kind, most in {shortened(names[0])}."
        yield Sentence(text, "caution" if share >= LITTLE_OTHER else "plain")


def kind_words(kind: str) -> str:
    return {GAP: "gaps", "matrix product": "matrix products", "collective": "collectives"}.get(kind, kind)


def operator_bars(found: OperatorTimes, rows: Mapping[str, dict[str, float]], title: str) -> Bars:
    """Return a bar for each row; the longest phase of the step has the full length."""
    longest = max(found.forward_ns, *(sum(kinds.values()) for kinds in found.phases.values()))
    bars = []
    for name, kinds in rows.items():
        if sum(kinds.values()) < LEAST_PART * longest:
            continue
        parts = [
            Part(kind_words(kind), duration(ns), ns / longest, PAINTS.get(kind, OTHERS_PAINT))
            for kind, ns in kinds.items()
            if ns >= LEAST_PART * longest
        ]
        bars.append(Bar(name, duration(sum(kinds.values())), tuple(parts)))
    clock = "GPU" if found.place == DEVICE else "host"
    note = f"Means over the profiled steps, by the {clock}'s clock. Each moment belongs to one kind, or to a gap."
    return Bars(title, note, tuple(bars))


def kind_table(found: OperatorTimes) -> Table:
    rows = [(kind_words(kind), f"{found.share(kind):.1%}", duration(ns)) for kind, ns in found.kinds.items()]
    rows.append(("forward", "100.0%", duration(found.forward_ns)))
    return table(("kind", "share", "per step"), rows)


def name_table(found: OperatorTimes) -> Table:
    rows = [
        (
            shortened(each.name),
            each.kind,
            f"{each.calls:,.1f}".removesuffix(".0"),
            f"{each.ns / found.forward_ns:.1%}",
            duration(each.ns),
        )
        for each in found.longest[:MOST_NAMES]
    ]
    more = len(found.longest) - len(rows)
    note = f"{more:,} more are in run.operators." if more > 0 else ""
    titles = (capitalized("kernel" if found.place == DEVICE else "operator"), "kind", "calls", "share", "per step")
    return table(titles, rows, words=(0, 1), title="The longest in the forward", note=note, first=FIRST_NAMES)


def shortened(name: str) -> str:
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"
