"""Write sweeps/traces/agents.jsonl, a small synthetic trace of coding agents.

Usage: `python -m tools.shipped_data.agent_trace`. Made up, with a fixed seed, in the format in which AIPerf writes
sessions: all share a system prompt with its tools, those of a project its files as well. Each turn brings a tool's
output, a second or so after the answer before it, and now and then one that took longer.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

FILE = Path(__file__).parents[2] / "sweeps/traces/agents.jsonl"
SEED = 1
SESSIONS, PROJECTS = 16, 3
BLOCK_TOKENS = 64  # of a hash id
SYSTEM_BLOCKS, PROJECT_BLOCKS, OWN_BLOCKS = 6, 3, 1
TURNS = (4, 9)
NEW_TOKENS, ANSWER_TOKENS = (24, 160), (16, 48)
PAUSE_MS, LONG_PAUSE_MS, LONG_SHARE = (200, 900), (2500, 6000), 0.2
EVERY_MS = 900  # a session begins


def lines() -> Iterator[dict[str, Any]]:
    """Yield the turns of all sessions, session by session."""
    chance, fresh = Random(SEED), count(SYSTEM_BLOCKS + PROJECTS * PROJECT_BLOCKS)
    for number in range(SESSIONS):
        project = chance.randrange(PROJECTS)
        files = [SYSTEM_BLOCKS + project * PROJECT_BLOCKS + block for block in range(PROJECT_BLOCKS)]
        blocks = [*range(SYSTEM_BLOCKS), *files, *(next(fresh) for _ in range(OWN_BLOCKS))]
        name = f"agent-{number + 1:02}"
        yield {
            "session_id": name,
            "timestamp": number * EVERY_MS,
            "input_length": len(blocks) * BLOCK_TOKENS - chance.randrange(BLOCK_TOKENS),
            "output_length": chance.randint(*ANSWER_TOKENS),
            "hash_ids": blocks,
        }
        for _ in range(chance.randint(*TURNS) - 1):
            pause = LONG_PAUSE_MS if chance.random() < LONG_SHARE else PAUSE_MS
            yield {
                "session_id": name,
                "delay": chance.randint(*pause),
                "input_length": chance.randint(*NEW_TOKENS),
                "output_length": chance.randint(*ANSWER_TOKENS),
            }


def text() -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines())


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"agent_trace: wrote {FILE.name}: {len(text().splitlines())} requests")
