"""Whether the requests of a point fit into memory, or into a temporary file: all are made before the first is sent."""

import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from sys import getsizeof

import msgspec

from engine_probe.engine.models.geometry import GIB
from engine_probe.errors import InputError
from engine_probe.sweep.definition.kv_demand import highest
from engine_probe.sweep.definition.sweep_file import Point
from engine_probe.workload.arrivals import Burst
from engine_probe.workload.dataset_file import Texts
from engine_probe.workload.prompts import Conversations, RandomPrompts, SharedPrefix
from engine_probe.workload.request_plan import MOST_HELD, Plan, make_plan
from engine_probe.workload.workload_spec import Workload

TOKEN_BYTES = 8  # in a list
SAMPLED = 4  # requests that stand for the others, whose drawn lengths differ


def check_plans(found: Iterable[Point], memory_bytes: int, disk_bytes: int | None = None) -> None:
    """Refuse requests that memory, or the disk for temporary files, cannot hold; texts are as large as their file."""
    for point in found:
        work = point.workload.description()
        check_prompts(point, work, memory_bytes)
        as_text = point.workload.from_file or isinstance(work.prompts, Texts)
        if work.num_prompts is None or work.num_prompts <= SAMPLED or as_text:
            continue
        few = msgspec.structs.replace(work, num_prompts=SAMPLED, arrivals=Burst(), max_concurrency=None)
        held = min(work.num_prompts, max(MOST_HELD, point.workload.max_in_flight))
        needed, stored = (each / SAMPLED for each in bytes_of_few(few))
        if needed * held > memory_bytes:
            raise InputError(
                f"{point.label}: {held:,} prompts need about {needed * held / GIB:,.0f} GiB of memory at a time, and "
                f"this machine has {memory_bytes / GIB:,.0f}: ask for fewer "
                f"({'num_prompts' if point.workload.num_prompts == held else 'concurrency'})"
            )
        if work.num_prompts > MOST_HELD:
            check_disk(point, work.num_prompts, stored * work.num_prompts, disk_bytes)


def check_disk(point: Point, prompts: int, needed: float, free: int | None) -> None:
    """Refuse more prompts than the folder of temporary files has space for; `free` is looked up unless it is given."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free if free is None else free
    if needed > free:
        raise InputError(
            f"{point.label}: {prompts:,} prompts need about {needed / GIB:,.0f} GiB in {folder} before the first is "
            f"sent, and {free / GIB:,.0f} are free: ask for fewer (num_prompts), or set TMPDIR"
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
            return highest(asked)
        case SharedPrefix(prefix_len, asked):
            return prefix_len + highest(asked)
        case Conversations(turns, asked, system_len):
            return system_len + highest(turns) * highest(asked)
    return 0


@cache
def bytes_of_few(work: Workload) -> tuple[int, int]:
    """Return the bytes of a plan in memory, and in a temporary file."""
    plan = make_plan(work)
    return plan_bytes(plan), len(msgspec.msgpack.encode(list(plan.sessions)))


def plan_bytes(plan: Plan) -> int:
    """Return the bytes of sessions, requests and their lists; integers are shared objects."""
    return sum(
        getsizeof(session)
        + getsizeof(session.requests)
        + sum(map(getsizeof, (part for one in session.requests for part in (one, one.id, one.prompt_token_ids))))
        for session in plan.sessions
    )
