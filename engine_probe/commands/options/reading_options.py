"""Options that several commands share: `--goodput ttft:200 tpot:30`, as in `vllm bench serve`, `--html`, `--json`."""

import re
from typing import ClassVar

import click

from engine_probe.commands.options.engine_options import GroupedCommand, under
from kernels_bench.options import FILE

LIMIT = re.compile(r"[a-z0-9_]+:\S*")
NAME = "--goodput"


class WithGoodput(GroupedCommand):
    """Takes further words after an option's value as repetitions of the option, if they look like its values."""

    further: ClassVar[dict[str, re.Pattern[str]]] = {NAME: LIMIT}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        for word in args:
            name, equals, value = word.partition("=")
            if equals and name in self.further:
                words += [name, value]
                continue
            option = words[-2] if len(words) > 1 else ""
            if option in self.further and self.further[option].fullmatch(word):
                words.append(option)
            words.append(word)
        return super().parse_args(ctx, words)


goodput = under("Criteria")(
    NAME,
    "limits",
    multiple=True,
    metavar="LIMIT ...",
    help="Count the requests that meet all of these limits, in ms: ttft:200 tpot:30 e2el:9000; bounds on a whole run "
    "are success:99 (%), cost_per_1000_tokens:0.002 (needs prices) and joules_per_token:0.5.",
)

html = under("Output")(
    "--html", "page", metavar="FILE", type=FILE, help="Write one self-contained page; - is standard output."
)

json_figures = under("Output")(
    "--json",
    "figures",
    metavar="[FILE]",
    type=FILE,
    is_flag=False,
    flag_value="-",
    help="Write the figures as JSON, on standard output or to a file.",
)
