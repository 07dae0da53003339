"""What the hooks take for granted in vLLM's sources beside its names: parameters, and who writes what they count.

A method that moved a parameter would be misread, and a new writer of a counted field would be missed until the audit
at the end of a recording. Sources are only parsed, so that every version is checked on any machine.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SCHEDULER = "vllm/v1/core/sched/scheduler.py Scheduler"
POOL = "vllm/v1/core/block_pool.py BlockPool"
BLOCK = "vllm/v1/core/kv_cache_utils.py KVCacheBlock"
MANAGER = "vllm/v1/core/single_type_kv_cache_manager.py"

# Method -> the parameters, in their order, that a hook reads; "..." stands for parameters that it does not.
PARAMETERS: dict[str, str] = {
    f"{SCHEDULER}.add_request": "request",
    f"{SCHEDULER}._preempt_request": "request timestamp",
    f"{SCHEDULER}._free_request": "request",
    f"{SCHEDULER}._handle_stopped_request": "request",
    f"{SCHEDULER}.update_from_output": "scheduler_output",
    f"{POOL}.touch": "blocks",
    f"{POOL}.free_blocks": "ordered_blocks",
    f"{POOL}._maybe_evict_cached_block": "block",
    "vllm/v1/core/kv_cache_manager.py KVCacheManager.allocate_slots": (
        "request ... num_new_computed_tokens ... num_external_computed_tokens ... reserved_blocks"
    ),
    "vllm/v1/worker/gpu_worker.py Worker.execute_model": "scheduler_output",
    "vllm/v1/worker/worker_base.py WorkerWrapperBase.execute_model": "scheduler_output",
    "vllm/v1/executor/abstract.py Executor.collective_rpc": "method timeout args kwargs",
    "vllm/v1/worker/gpu/model_runner.py GPUModelRunner.prepare_inputs": "scheduler_output ... batch_desc",
}
# Parameters that only some versions have, read where they are there.
OPTIONAL: dict[str, str] = {f"{SCHEDULER}._preempt_request": "request timestamp drop_stale_output"}

# Field -> the methods that write it, each with what follows the change. Whoever else writes it is not known.
WRITERS: dict[str, dict[str, str]] = {
    "ref_cnt": {
        f"{POOL}.touch": "hooked",
        f"{POOL}.free_blocks": "hooked",
        f"{POOL}.get_new_blocks": "from 0 to 1, which neither counter counts",
        f"{POOL}.unpin_blocks": "hooked: HiSparse",
        f"{MANAGER} SingleTypeKVCacheManager._apply_cow": "hooked",
        f"{MANAGER} MambaManager.allocate_new_blocks": "beside move_block_hashes, which is hooked",
    },
    "_block_hash": {
        f"{BLOCK}.set_block_hash": "of blocks in use, which are not counted before they are freed",
        f"{BLOCK}.reset_hash": "called by the eviction, the reset and the move of a hash, between blocks in use",
    },
    "running": {
        f"{SCHEDULER}.__init__": "before the probe attaches",
        f"{SCHEDULER}.schedule": "read from its output, and from _preempt_request",
        f"{SCHEDULER}.update_from_output": "removes who was freed or preempted, which is hooked",
        f"{SCHEDULER}.finish_requests": "removes who is freed, which is hooked",
        f"{SCHEDULER}.reset_prefix_cache": "removes who is preempted, which is hooked",
    },
    "num_computed_tokens": {
        "vllm/v1/request.py Request.__init__": "before it arrives",
        f"{SCHEDULER}.schedule": "of requests that it admits, read from its output",
        f"{SCHEDULER}._update_after_schedule": "by the tokens that were scheduled",
        f"{SCHEDULER}.update_from_output": "less rejected drafts, followed there",
        f"{SCHEDULER}._update_request_with_output": "less tokens behind a stop",
        f"{SCHEDULER}._preempt_request": "hooked",
        f"{SCHEDULER}._handle_stopped_request": "hooked: streaming sessions",
        f"{SCHEDULER}._handle_failed_recving": "of requests that are not running",
        f"{SCHEDULER}._update_waiting_for_remote_kv": "of requests that are not running",
        f"{SCHEDULER}._update_requests_with_invalid_blocks": "hooked: a KV connector failed to load them",
    },
}
MUTATING = {"append", "remove", "pop", "insert", "extend", "clear"}
WRITTEN_IN = ("vllm/v1/core", "vllm/v1/request.py")


def unknown_writers(folder: Path) -> list[str]:
    """Name each method below vLLM's core that writes a counted field and is not in the table."""
    found = []
    for path in sorted(path for place in WRITTEN_IN for path in _files(folder / place)):
        where = str(path.relative_to(folder))
        for field, method in _written(path.read_text()):
            if f"{where} {method}" not in WRITERS[field]:
                found.append(f"{where}: {method} writes {field}, which the counters do not follow")
    return found


def changed_parameters(folder: Path) -> list[str]:
    """Name each method of the table whose parameters are not those that the hooks read; an absent one is a name's."""
    found = []
    for place, wanted in PARAMETERS.items():
        path, method = place.split()
        parameters = _parameters(folder / path, *method.split("."))
        if parameters is not None and not any(
            _fits(names.split(), parameters) for names in (wanted, OPTIONAL.get(place, wanted))
        ):
            found.append(f"{path}: {method} takes {', '.join(parameters) or 'nothing'}, and not {wanted}")
    return found


@cache
def _parsed(text: str) -> ast.Module:
    """Parse once what several methods of the tables lie in."""
    return ast.parse(text)


@cache
def _written(text: str) -> tuple[tuple[str, str], ...]:
    """Return field and method of each write in a source; most sources name no such field, and are not parsed."""
    return tuple(sorted(set(_writes(_parsed(text), ())))) if any(field in text for field in WRITERS) else ()


def _files(place: Path) -> list[Path]:
    return [place] if place.is_file() else [*place.rglob("*.py")]


def _writes(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield field and method of each write: an assignment, a deletion, or a call that changes a list in place."""
    for child in ast.iter_child_nodes(node):
        names = inside
        match child:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names = (*inside, name)
            case ast.Attribute(attr=field, ctx=ast.Store() | ast.Del()) if field in WRITERS:
                yield field, ".".join(inside)
            case ast.Call(func=ast.Attribute(attr=change, value=ast.Attribute(attr=field))) if (
                field in WRITERS and change in MUTATING
            ):
                yield field, ".".join(inside)
        yield from _writes(child, names)


def _parameters(path: Path, class_name: str, method: str) -> list[str] | None:
    """Return a method's parameters without self. None if there is no such method."""
    if not path.is_file():
        return None
    for owner in _parsed(path.read_text()).body:
        if isinstance(owner, ast.ClassDef) and owner.name == class_name:
            for function in owner.body:
                if isinstance(function, ast.FunctionDef) and function.name == method:
                    arguments = function.args
                    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)][1:]
    return None


def _fits(wanted: list[str], parameters: list[str]) -> bool:
    place = 0
    for position, name in enumerate(wanted):
        if name == "...":
            continue
        skips = position > 0 and wanted[position - 1] == "..."
        if name not in parameters[place:] or (not skips and parameters[place] != name):
            return False
        place = parameters.index(name, place) + 1
    return True
