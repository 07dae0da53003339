"""The command line: a flat list of commands, and the only place that turns errors into exit codes.

Exit codes: 0 success, 1 measured but a gate failed or a recording is incomplete, 2 wrong input,
3 could not run, 130 stopped by Ctrl-C.
"""

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from engine_probe.errors import INTERRUPTED, EngineProbeError, InputError
from engine_probe.text_format import plain, shortened
from kernels_bench.usage import usage_sentence

# heading of `--help` -> name -> its line there. A command is the module of its name under engine_probe.commands, or in
# HOMES, imported when the command is called, so that `--help` stays quick.
HEADINGS = {
    "Measure": {
        "profile": "measure one workload on one engine and show it live",
        "sweep": "measure a grid of points on one or more engines",
        "suite": "measure all sweeps of a published document and write one report of them",
        "perplexity": "measure how well a model predicts a local text",
    },
    "Read results": {
        "report": "summarise a run or sweep and name its bottleneck; --html writes a page",
        "compare": "compare runs or sweeps; --html writes a page, --fail-if fails a CI job",
        "trace": "convert a run or sweep to a trace for Perfetto",
        "users": "convert users to concurrent requests, and back",
        "prices": "compare hardware options by what they cost at a demand; --init writes a price list",
        "export": "convert a run or sweep to Parquet, CSV, the JSON of vllm bench, or a trace for Dynamo",
    },
    "Predict": {
        "predict": "predict what a recorded run would have been under other settings of the scheduler",
        "plan": "predict what a GPU holds of a model, and what bounds its speed",
    },
    "This machine": {
        "doctor": "check whether a sweep can run on this machine",
        "validate": "measure this hardware and compare it with its specification",
        "overhead": "measure the cost of the probe itself on this machine",
        "models": "list the models that need no download",
    },
}
# Of commands in the folder of another.
HOMES = {"suite": "sweep.suite", "plan": "sweep.plan", "predict": "sweep.predict"}
COMMANDS = {name: line for commands in HEADINGS.values() for name, line in commands.items()}


class CommandList(click.Group):
    """Imports `engine_probe.commands.<name>.command` when it is called, and reports wrong usage in one sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            near = difflib.get_close_matches(cmd_name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "engine_probe --help lists them"
            ctx.fail(f"there is no command {cmd_name}: {hint}")
        command: click.Command = import_module(f"engine_probe.commands.{HOMES.get(cmd_name, cmd_name)}").command
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with in_one_sentence():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with in_one_sentence():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), line) for name, line in commands.items()])


@contextmanager
def in_one_sentence() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise  # shows the help page
    except click.UsageError as error:
        raise InputError(usage_sentence(error)) from error
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)


@click.group(
    cls=CommandList,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND [OPTIONS]",
    options_metavar="",
    epilog='\b\nCompletion in bash: eval "$(_ENGINE_PROBE_COMPLETE=bash_source engine_probe)"\n'
    "In zsh and fish: with zsh_source and fish_source in its place.",
)
@click.version_option(package_name="engine-probe", prog_name="engine_probe")
def cli() -> None:
    """Profile a vLLM engine, iteration by iteration.

    \b
    Start with these:
      engine_probe doctor                  check this machine
      engine_probe profile --model tiny    measure a small built-in model (seconds)
      engine_probe sweep                   measure throughput and latency over load (minutes)
      engine_probe report runs/FOLDER      summarise a recording

    Each COMMAND has its own --help. Results are written to runs/.
    """


def main() -> None:
    try:
        cli(prog_name="engine_probe")
    except EngineProbeError as error:
        click.echo("\n".join(shortened(plain(line)) for line in f"engine_probe: {error}".splitlines()), err=True)
        sys.exit(error.exit_code)
