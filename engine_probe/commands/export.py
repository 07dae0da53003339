"""`engine_probe export`: a recording as Parquet or CSV."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", "kind", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New or empty folder for the files.")
def command(folder: Path, kind: str, out: Path) -> None:
    """Write every table of the recording in FOLDER as Parquet or CSV, without loss (lists become JSON in CSV)."""
    from engine_probe.record.export import export
    from engine_probe.record.schema import SCHEMAS
    from engine_probe.run import load

    run = load(folder)
    for note in run.notes:
        click.echo(note, err=True)
    for path in export({name: getattr(run, name) for name in SCHEMAS}, out, kind):
        click.echo(str(path))
