"""`engine_probe plan`: what a GPU would hold of a model, without either."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine_probe.commands.options import reading_options
from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.errors import InputError
from kernels_bench.options import FILE

engine, load, output = map(under, ("Model and engine", "Load", "Output"))
LENGTH = click.IntRange(min=1)


@click.command(
    "plan",
    cls=GroupedCommand,
    epilog="Example: engine_probe plan --model llama-3.1-8b --devices L4,L40S,H100,H200",
)
@engine("--model", required=True, help="A name from `engine_probe models`, or a folder with a config.json.")
@engine("--device", "--devices", "devices", metavar="GPU,...", required=True, multiple=True, help="Compare these GPUs.")
@engine("--tensor-parallel-size", type=LENGTH, help="GPUs that share the weights.")
@engine("--max-model-len", type=LENGTH, help="Tokens of the longest request [default: the model's context].")
@engine("--kv-cache-dtype", help="Number format of the KV cache, such as fp8 [default: the model's].")
@engine("--dtype", help="Number format of weights and activations [default: the model's].")
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
@load("--output-len", type=LENGTH, default=256, show_default=True, help="Tokens of an answer.")
@output(
    "--json",
    "json_file",
    metavar="[FILE]",
    type=FILE,
    is_flag=False,
    flag_value="-",
    help="Write the figures as JSON, on standard output or to a file.",
)
@reading_options.html
def command(
    model: str,
    devices: tuple[str, ...],
    input_len: int,
    output_len: int,
    json_file: Path | None,
    page: Path | None,
    **arguments: object,
) -> None:
    """Predict whether a model fits on a GPU, how many requests it holds, and what bounds its speed.

    Weights and KV cache follow from the model's configuration; the workspace is estimated from four published engines.
    Times are bounds from the GPU's data sheet. Nothing is measured, and neither the GPU nor the weights are needed.
    """
    from engine_probe.commands.options.console import PIPED_WIDTH, output_console
    from engine_probe.files.new_file import fresh_file
    from engine_probe.report.renderers.html_document import html_page
    from engine_probe.report.renderers.terminal import print_document
    from engine_probe.report.sections.load.capacity_plan import plan_document, plan_json
    from engine_probe.sweep.preflight.device_plan import plan_on

    names = [name.strip() for each in devices for name in each.split(",") if name.strip()]
    if not names:
        raise InputError("--devices names no GPU: give some, such as L40S,H100")
    given = {name: value for name, value in arguments.items() if value is not None}
    found = [plan_on(model, name, given, (input_len, output_len)) for name in names]
    doubts = list(dict.fromkeys(doubt for _, each in found for doubt in each))
    plans = [plan for plan, _ in found]
    document = plan_document(model, plans, doubts)
    if json_file is not None:
        with fresh_file(json_file) as file:
            file.write(json.dumps(plan_json(model, plans), indent=1).encode() + b"\n")
    if page is not None:
        with fresh_file(page) as file:
            file.write(html_page(document).encode())
    if json_file != Path("-") and page != Path("-"):
        print_document(document, output_console(PIPED_WIDTH))
