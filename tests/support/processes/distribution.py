"""Which tests `make test` runs in one process: those that share what takes long to import.

vLLM takes ten seconds of CPU to import, and twenty with all that engines import. So the files with vLLM in the process
of the test are one unit of work, those with engines that are forked another, and every other file is one by itself.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parents[3]
HERE, FORKED = "vLLM in the process of the test", "forked engines"
UNITS = (  # a file belongs to the first of these patterns that is in it
    (r"tiny_llm|scheduler_engine", HERE),
    (r"forked_engine|forked_command|in_own_process: ", FORKED),
    (r"^ +from vllm|importorskip\(.vllm", HERE),
)


@cache
def unit_of(file: str) -> str:
    text = (ROOT / file).read_text()
    return next((unit for pattern, unit in UNITS if re.search(pattern, text, re.MULTILINE)), file)


class SharedImports(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return unit_of(super()._split_scope(nodeid))
