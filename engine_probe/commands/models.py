"""`engine_probe models`: the models that need no download, with their sizes."""

import json
from dataclasses import dataclass

import click
from rich.table import Table

from engine_probe.commands.options.console import output_console
from engine_probe.commands.options.engine_options import GroupedCommand, under
from engine_probe.engine.models.catalogue import catalogue_config, catalogue_folder, catalogue_names, sources
from engine_probe.engine.models.embedded import EMBEDDED, embedded_config, embedded_model, place_of
from engine_probe.engine.models.geometry import GIB, Geometry, geometry
from engine_probe.errors import InputError
from engine_probe.report.renderers.plain_table import plain_table
from engine_probe.text_format import suggestion

WIDE = 120  # columns that the table with the sources needs

SOURCES = {"smollm2": "embedded: real trained weights", "tiny": "embedded: random weights"}


@dataclass(frozen=True)
class ListedModel:
    """One row of the list."""

    name: str
    shape: Geometry
    source: str
    note: str = ""

    def as_json(self) -> dict[str, object]:
        shape = self.shape
        return {
            "name": self.name,
            "parameters": shape.parameters,
            "attention": shape.attention,
            "layers": shape.layers,
            "heads": shape.heads,
            "kv_heads": shape.kv_heads,
            "head_size": shape.head_size,
            "kv_bytes_per_token": shape.kv_bytes_per_token(),
            "weights_bytes": int(shape.weights_bytes()),
            "max_context_tokens": shape.max_context,
            "dtype": shape.dtype,
            "quantized": shape.quantized,
            "source": self.source,
            "note": self.note,
        }


def all_models() -> list[ListedModel]:
    embedded = [ListedModel(name, geometry(embedded_config(name)), SOURCES[name], _state(name)) for name in EMBEDDED]
    published = [
        ListedModel(name, geometry(catalogue_config(name)), sources()[name]["publisher"], sources()[name]["checked"])
        for name in catalogue_names()
    ]
    return embedded + sorted(published, key=lambda model: (model.shape.parameters, model.name))


def _state(name: str) -> str:
    return "prepared" if place_of(name).is_dir() else "prepared at first use"


output = under("Output")


@click.command("models", cls=GroupedCommand)
@output("--json", "as_json", is_flag=True, help="Print the list as JSON, with sizes in bytes.")
@output("--path", "path_of", metavar="MODEL", help="Print this model's folder, after preparing it if necessary.")
def command(as_json: bool, path_of: str | None) -> None:
    """List the models that need no download.

    smollm2 has trained weights, tiny has random weights. The others have the publisher's configuration and dummy
    weights: speed and memory are realistic, the text is not. KV per token and weights are in each model's own data
    type. Any other name or folder is passed to vLLM unchanged.
    """
    if path_of is not None:
        click.echo(model_folder(path_of))
        return
    models = all_models()
    if as_json:
        click.echo(json.dumps([model.as_json() for model in models], indent=2))
        return
    console = output_console(WIDE)
    wide = console.width >= WIDE
    console.print(_table(models, wide))
    if not wide:
        console.print(_sources(models))
    console.print(
        "Only smollm2 has trained weights; the others show realistic speed and memory, but no real text.", style="dim"
    )


def model_folder(name: str) -> str:
    """Return the folder of a listed model, for programs that do not know these names, such as vLLM's server."""
    if name in EMBEDDED:
        return embedded_model(name, lambda message: click.echo(message, err=True))
    if name in catalogue_names():
        return str(catalogue_folder(name))
    hint = suggestion(name, [*EMBEDDED, *catalogue_names()]) or ": `engine_probe models` lists those that are"
    raise InputError(f"--path {name}: not a listed model{hint}")


def _table(models: list[ListedModel], wide: bool) -> Table:
    table = plain_table()
    table.add_column("\nmodel", style="bold", no_wrap=True)
    table.add_column("\nparams", justify="right", no_wrap=True)
    table.add_column("\nattn", no_wrap=True)
    for title in ("lay-\ners", "KV\nheads", "head\nsize", "KV KiB\n/token", "weights\nGiB", "con-\ntext"):
        table.add_column(title, justify="right", no_wrap=True)
    if wide:
        table.add_column("\ncomes from", no_wrap=True)
    for model in models:
        table.add_row(*_cells(model), *([model.source] if wide else []))
    return table


def _sources(models: list[ListedModel]) -> Table:
    """Return the sources as a table of their own, for a narrow screen."""
    table = plain_table()
    table.add_column("model", style="bold", no_wrap=True)
    table.add_column("comes from", no_wrap=True)
    for model in models:
        table.add_row(model.name, model.source)
    return table


def _cells(model: ListedModel) -> list[str]:
    shape = model.shape
    weights = shape.weights_bytes() / GIB
    return [
        model.name,
        count(shape.parameters),
        shape.attention,
        str(shape.layers),
        str(shape.kv_heads),
        str(shape.head_size),
        f"{shape.kv_bytes_per_token() / 1024:.1f}",
        f"{weights:.2f}" if weights >= 1 else f"{weights:.3f}",
        f"{shape.max_context // 1024}k",
    ]


def count(parameters: int) -> str:
    """Return a number of parameters as 1.56B, 135M or 378k."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if parameters >= size:
            value = parameters / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}{unit}"
    return str(parameters)
