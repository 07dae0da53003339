"""The command line: a flat list of commands, and the one place that turns errors into exit codes.

Exit codes: 0 fine, 1 measured and failed a gate (or the recording is incomplete), 2 wrong input,
3 could not run.
"""

from __future__ import annotations

import difflib
import sys
from importlib import import_module

import click

from engine_probe.errors import EngineProbeError
from engine_probe.report.plain import plain

# name -> (module under engine_probe.commands, the one line that `--help` shows). A command's module is
# imported when the command is called, so that `--help` stays quick.
COMMANDS = {
    "sweep": "measure a grid of points on one or more engines",
    "profile": "measure one point and watch it live",
    "perplexity": "measure how well a model predicts a local text",
    "validate": "measure this hardware and say whether it is what was paid for",
    "overhead": "measure what the probe itself costs on this machine",
    "report": "say what a run or a sweep came to and what limits it; --html writes a page",
    "compare": "say what changed between runs or sweeps; --html writes a page, --fail-if stops a CI job",
    "trace": "write a recording as a trace that Perfetto opens",
    "export": "write a recording as Parquet, CSV or the JSON of vllm bench",
    "models": "list the models that need no download",
    "doctor": "say what works on this machine and what does not",
}


class CommandList(click.Group):
    """Finds `engine_probe.commands.<name>.command` when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "engine_probe --help lists them"
            ctx.fail(f"there is no command {cmd_name}: {hint}")
        command: click.Command = import_module(f"engine_probe.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=CommandList, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="engine-probe", prog_name="engine_probe")
def cli() -> None:
    """What a vLLM engine really does, iteration by iteration."""


def main() -> None:
    try:
        cli(prog_name="engine_probe")
    except EngineProbeError as error:
        click.echo("\n".join(map(plain, f"engine_probe: {error}".splitlines())), err=True)
        sys.exit(error.exit_code)
