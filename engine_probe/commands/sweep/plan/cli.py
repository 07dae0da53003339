"""`engine_probe plan`: what a GPU would hold of a model, without either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import under
from engine_probe.errors import InputError
from engine_probe.files.new_file import check_free
from kernels_bench.options import FILE, Number

if TYPE_CHECKING:
    from engine_probe.report.sections.load.capacity_plan import Planned
    from engine_probe.report.sections.load.engine_choice import EngineChoice

engine, load = map(under, ("Model and engine", "Load"))
LENGTH = click.IntRange(min=1)
OUTPUT_LEN = 256


class WithSlo(reading_options.WithGoodput):
    further: ClassVar = {"--slo": reading_options.LIMIT}


@click.command(
    "plan", cls=WithSlo, epilog="Example: engine_probe plan --model llama-3.1-8b --devices L4,L40S,H100,H200"
)
@engine(
    "--model", metavar="MODEL", required=True, help="A name from `engine_probe models`, or a folder with a config.json."
)
@engine("--device", "--devices", "devices", metavar="GPU,...", required=True, multiple=True, help="Compare these GPUs.")
@engine("--tensor-parallel-size", type=LENGTH, help="GPUs that share the weights.")
@engine("--max-model-len", type=LENGTH, help="Tokens of the longest request [default: the model's context].")
@engine("--kv-cache-dtype", metavar="TYPE", help="Number format of the KV cache, such as fp8 [default: the model's].")
@engine("--dtype", metavar="TYPE", help="Number format of weights and activations [default: the model's].")
@engine(
    "--gpu-memory-utilization",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.9,
    show_default=True,
    help="Share of the GPU for vLLM; its own default is 0.9, and 0.92 in newer versions.",
)
@engine("--max-num-seqs", type=LENGTH, help="Most requests in a step.")
@engine("--max-num-batched-tokens", type=LENGTH, help="Most tokens in a step.")
@load("--input-len", type=LENGTH, default=512, show_default=True, help="Tokens of a prompt.")
@load("--output-len", type=LENGTH, help=f"Tokens of an answer [default: {OUTPUT_LEN}].")
@load(
    "--answer-lengths",
    metavar="FOLDER|FILE",
    type=FILE,
    help="Take them from a recording, a trace (Mooncake's .jsonl, BurstGPT's .csv) or a data set (ShareGPT's or "
    "Alpaca's .json, .jsonl with prompt and output_tokens).",
)
@load(
    "--requests-per-second",
    type=Number(min=0, min_open=True),
    help="Requests per second that all engines together must answer.",
)
@load(
    "--slo",
    "limits",
    multiple=True,
    metavar="LIMIT ...",
    help="Choose the cheapest of these GPUs, with their number and parallelism, that may meet these limits in ms: "
    "ttft:200 tpot:30 e2el:9000.",
)
@load(
    "--money", "prices", metavar="FILE", help="A price list whose options are called like the GPUs: costs and energy."
)
@reading_options.html
@reading_options.json_figures
def command(
    model: str,
    devices: tuple[str, ...],
    input_len: int,
    output_len: int | None,
    answer_lengths: Path | None,
    requests_per_second: float | None,
    limits: tuple[str, ...],
    prices: str | None,
    figures: Path | None,
    page: Path | None,
    **arguments: object,
) -> None:
    """Predict whether a model fits on a GPU, how many requests it holds, and what bounds its speed.

    Weights and KV cache follow from the model's configuration; the workspace is estimated from four published engines.
    Times are bounds from the GPU's datasheet. Nothing is measured, and neither the GPU nor the weights are needed.
    """
    from engine_probe.commands.options.document_output import json_file, page_file, show_document
    from engine_probe.report.sections.load.capacity_plan import plan_document, plan_json

    check_free(page, figures)
    names = list(dict.fromkeys(name.strip() for each in devices for name in each.split(",") if name.strip()))
    if not names:
        raise InputError("--devices names no GPU: give some, such as L40S,H100")
    if requests_per_second is not None and not limits:
        raise InputError(
            f"--requests-per-second {requests_per_second:g} chooses among GPUs: add --slo, such as tpot:50"
        )
    given = {name: value for name, value in arguments.items() if value is not None}
    output_len, words = length_of(output_len, answer_lengths, model, input_len, given)
    found = planned(model, names, given, (input_len, output_len), prices)
    chosen = None if not limits else choice(model, names, given, found, (limits, requests_per_second))
    document = plan_document(found, words, chosen)
    files = json_file(figures, lambda: plan_json(found, chosen)), page_file(page, lambda: document)
    show_document(document, *files)


def length_of(
    output_len: int | None, place: Path | None, model: str, input_len: int, given: dict[str, Any]
) -> tuple[int, tuple[str, ...]]:
    """Return the tokens of an answer, and what they rest on if they are read."""
    from engine_probe.commands.sweep.plan.answer_lengths import answer_lengths

    if place is None:
        return output_len or OUTPUT_LEN, ()
    if output_len is not None:
        raise InputError(
            f"--output-len {output_len} and --answer-lengths {place} are both given: leave one of them out"
        )
    found, most = answer_lengths(place, model), given.get("max_model_len")
    if most is not None and input_len + found.longest > most:
        raise InputError(
            f"--answer-lengths {place}: its longest answer has {found.longest:,} tokens, and --input-len {input_len:,} "
            f"makes that more than --max-model-len {most:,}: raise it, or name other answers"
        )
    return max(1, round(found.mean)), (found.words,)


def planned(
    model: str, names: Sequence[str], given: dict[str, Any], lengths: tuple[int, int], money: str | None
) -> Planned:
    """Plan one engine on each GPU, with what it costs, and what would let it start where it does not."""
    from engine_probe.commands.sweep.plan.choice import offer_of
    from engine_probe.engine.twin.engine_choice import LatencyLimits, candidate
    from engine_probe.evaluation.money.price_list import read_prices
    from engine_probe.report.sections.load.capacity_plan import Planned
    from engine_probe.sweep.preflight.device_plan import changes_that_fit, plan_on

    prices = None if money is None else read_prices(money)
    plans = [plan_on(model, name, given, lengths) for name in names]
    offers = [offer_of(prices, str(money), (name, plan.device)) for name, (plan, _) in zip(names, plans, strict=True)]
    return Planned(
        model,
        [candidate(plan, LatencyLimits(), None, offer) for (plan, _), offer in zip(plans, offers, strict=True)],
        list(dict.fromkeys(doubt for _, doubts in plans for doubt in doubts)),
        {plan.device: changes_that_fit(plan, model, given) for plan, _ in plans if not plan.fits},
        money,
        None if prices is None else prices.currency,
    )


def choice(
    model: str, names: Sequence[str], given: dict[str, Any], found: Planned, asked: tuple[Sequence[str], float | None]
) -> EngineChoice:
    """Compare every number of GPUs on which the limits may be met."""
    from engine_probe.commands.sweep.plan.choice import candidates, read_limits
    from engine_probe.report.sections.load.engine_choice import EngineChoice

    words, demand = asked
    offers = [each.offer for each in found.engines]
    plan = found.engines[0].plan
    compared = candidates(model, names, given, (plan.input_len, plan.output_len), (read_limits(words), demand), offers)
    return EngineChoice(compared, " ".join(words), demand, found.currency)
