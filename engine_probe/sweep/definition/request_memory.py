"""Whether the requests of a point fit into memory: all are made before the first is sent."""

from collections.abc import Iterable
from functools import cache
from sys import getsizeof

import msgspec

from engine_probe.engine.models.geometry import GIB
from engine_probe.errors import InputError
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.workload.arrivals import Burst
from engine_probe.workload.dataset_file import Texts
from engine_probe.workload.lengths import Length
from engine_probe.workload.prompts import Conversations, RandomPrompts, SharedPrefix
from engine_probe.workload.request_plan import Plan, make_plan
from engine_probe.workload.spec import Workload

TOKEN_BYTES = 8  # in a list
SAMPLED = 4  # requests that stand for the others, whose drawn lengths differ


def check_plans(found: Iterable[Point], memory_bytes: int) -> None:
    """Refuse requests that this machine's memory cannot hold; texts are as large as their file."""
    for point in found:
        work = point.workload.description()
        check_prompts(point, work, memory_bytes)
        as_text = point.workload.from_file or isinstance(work.prompts, Texts)
        if work.num_prompts is None or work.num_prompts <= SAMPLED or as_text:
            continue
        few = msgspec.structs.replace(work, num_prompts=SAMPLED, arrivals=Burst(), max_concurrency=None)
        needed = bytes_of_few(few) / SAMPLED * work.num_prompts
        if needed > memory_bytes:
            raise InputError(
                f"{point.label}: {work.num_prompts:,} prompts need about {needed / GIB:,.0f} GiB of memory before the "
                f"first is sent, and this machine has {memory_bytes / GIB:,.0f}: ask for fewer "
                f"({'num_prompts' if point.workload.num_prompts else 'concurrency'})"
            )


def check_prompts(point: Point, work: Workload, memory_bytes: int) -> None:
    """Refuse prompts so long that not even a few fit, before any is made."""
    longest = longest_prompt(work)
    few = min(work.num_prompts or 1, SAMPLED)
    if longest * few * TOKEN_BYTES > memory_bytes:
        raise InputError(
            f"{point.label}: prompts of {longest:,} tokens do not fit into the {memory_bytes / GIB:,.0f} GiB of memory "
            "of this machine: make them shorter (input_len)"
        )


def longest_prompt(work: Workload) -> int:
    match work.prompts:
        case RandomPrompts(asked):
            return most(asked)
        case SharedPrefix(prefix_len, asked):
            return prefix_len + most(asked)
        case Conversations(turns, asked, system_len):
            return system_len + most(turns) * most(asked)
    return 0


def most(length: Length) -> int:
    return length if isinstance(length, int) else length.high


@cache
def bytes_of_few(work: Workload) -> int:
    return plan_bytes(make_plan(work))


def plan_bytes(plan: Plan) -> int:
    """Return the bytes of sessions, requests and their lists; integers are shared objects."""
    return sum(
        getsizeof(session)
        + getsizeof(session.requests)
        + sum(map(getsizeof, (part for one in session.requests for part in (one, one.id, one.prompt_token_ids))))
        for session in plan.sessions
    )
