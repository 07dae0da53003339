"""The option `--goodput ttft:200 tpot:30`, as `vllm bench serve` takes it."""

from __future__ import annotations

import re

import click

from engine_probe.commands.options.engine_options import GroupedCommand, under

LIMIT = re.compile(r"[a-z0-9]+:\S*")
NAME = "--goodput"


class WithGoodput(GroupedCommand):
    """Takes further limits after the first as repetitions of the option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        for word in args:
            if len(words) > 1 and words[-2] == NAME and LIMIT.fullmatch(word):
                words.append(NAME)
            words.append(word)
        return super().parse_args(ctx, words)


option = under("Criteria")(
    NAME,
    "limits",
    multiple=True,
    metavar="LIMIT ...",
    help="Count the requests that meet all of these limits, in ms: ttft:200 tpot:30 e2el:9000.",
)
