"""Checks of a sweep whose keys are all known, before an engine starts: contradictions, and what cannot run."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from engine_probe.engine.arguments import check_arguments
from engine_probe.engine.build import check_model, max_context
from engine_probe.engine.engine_spec import EngineSpec
from engine_probe.engine.models.catalogue import catalogue_names
from engine_probe.engine.parallelism import rank_count
from engine_probe.errors import InputError
from engine_probe.files.safe_read import read_json
from engine_probe.hook.engine_core import OUR_VARIABLES, PRIVATE_NAME, VARIABLE_PREFIXES
from engine_probe.record.run_json import operator_window
from engine_probe.recordings.cluster import MOST_ENGINES
from engine_probe.sweep.definition.axes import WORKLOAD, Range, check_axis
from engine_probe.sweep.definition.request_memory import check_plans
from engine_probe.sweep.definition.sweep_file import EngineSection, Point, SweepFile
from engine_probe.sweep.definition.workload_section import WorkloadSection
from engine_probe.text_format import suggestion
from engine_probe.workload.arrivals import ClosedLoop
from engine_probe.workload.dataset_file import Dataset, Texts, check_answers, read_entries
from engine_probe.workload.prompts import Conversations, SharedPrefix
from engine_probe.workload.question_set.question_file import are_here, read_question_sets
from engine_probe.workload.question_set.question_prompts import Questions
from engine_probe.workload.request_plan import check_fits, make_plan
from engine_probe.workload.stop import Stop
from engine_probe.workload.workload_spec import prompt_files
from kernels_bench.devices.cpu import cpu

CONCURRENCY, USERS = f"{WORKLOAD}concurrency", f"{WORKLOAD}arrivals.users"
VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def check_adaptive(sweep: SweepFile) -> None:
    if sweep.adaptive is None:
        return
    sweep.adaptive.check()
    if not sweep.adaptive.axis.startswith(WORKLOAD):
        raise InputError(f"adaptive.axis is {sweep.adaptive.axis}: a search varies the load, so name a workload field")
    check_axis(sweep.adaptive.axis, WorkloadSection.__struct_fields__)
    if sweep.adaptive.axis in sweep.axes:
        raise InputError(f"axes.{sweep.adaptive.axis} is searched already (adaptive.axis): leave one of the two out")


def check_together(sweep: SweepFile, all_points: list[Point]) -> None:
    """Refuse what has no meaning, or no figure yet, where several engines measure a point together."""
    found = [point for point in all_points if point.together]
    if not found:
        return
    what = "mix" if sweep.mix else f"replicas = {found[0].replicas}"
    counts = [sum(count for _, count in point.engine_counts) for point in found]
    if more := next((count for count in counts if count > MOST_ENGINES), 0):
        raise InputError(f"{what}: {more:,} engines are more than {MOST_ENGINES} at a point: lower replicas")
    if sweep.adaptive and sweep.adaptive.slo and sweep.adaptive.slo.whole_limits:
        limits = sweep.adaptive.slo.whole_words
        raise InputError(f"{what}: adaptive.slo limits {limits}, which engines beside each other share: leave it out")
    if not all(point.probe for point in found):
        raise InputError(f"{what}: probe = false: the sum over engines is counted in their recordings: leave it out")


def check_reach(sweep: SweepFile, found: list[Point]) -> None:
    """Check the ends of a search, for which no points exist before they are measured."""
    if sweep.adaptive is None:
        return
    axis, last = sweep.adaptive.axis, sweep.adaptive.last
    for point in found:
        for value in (sweep.adaptive.first, last):
            try:
                workload = point.workload.at(axis, value)
                workload.description()
                check_lengths(msgspec.structs.replace(point, workload=workload))
            except InputError as error:
                raise InputError(f"adaptive.axis is {axis}, from {sweep.adaptive.first} to {last}: {error}") from error
        if axis in (CONCURRENCY, USERS):
            check_in_flight(point.workload, axis, last, "adaptive.to for ")


def check_distinct(found: Sequence[Point]) -> None:
    """Refuse a point that is asked for twice: the second one would set aside what the first one records."""
    seen: dict[str, Point] = {}
    for point in found:
        if (other := seen.setdefault(point.key, point)) is not point:
            raise InputError(f"{other.label!r} and {point.label!r} are the same point: leave one of the two out")


def check_points(found: list[Point]) -> None:
    """Check the models, arguments and lengths of all points, each engine once."""
    for engine in dict.fromkeys(point.engine.spec for point in found):
        check_engine(engine, "engine.arguments")
        check_environment(engine.environment, "engine.environment")
    for point in found:
        point.workload.description()
        check_stop(point)
        check_window(point)
        check_kept(point)
        check_load(point.workload)
        check_lengths(point)


def check_engine(engine: EngineSpec, where: str) -> None:
    """Check the model and each argument; `where` names the place of the arguments in an error."""
    check_model(engine.model)
    check_arguments(engine.arguments, where)
    rank_count(engine.arguments)


def check_environment(variables: Mapping[str, str | int], where: str) -> None:
    """Refuse a variable that no engine reads, and those that engine_probe sets itself."""
    for name, value in variables.items():
        if not VARIABLE_NAME.fullmatch(name) or not name.startswith(VARIABLE_PREFIXES):
            raise InputError(
                f"{where}: {name} is not a variable of an engine: their names begin with {', '.join(VARIABLE_PREFIXES)}"
            )
        if name in OUR_VARIABLES:
            raise InputError(f"{where}: {name} is set by engine_probe, because {OUR_VARIABLES[name]}: leave it out")
        if PRIVATE_NAME.search(name):
            raise InputError(f"{where}: {name} would be written to the sweep's files: set it in the shell instead")
        if "\0" in str(value):
            raise InputError(f"{where}: {name} is {value!r}: a variable cannot hold a null character")


def check_lengths(point: Point) -> None:
    """Refuse requests longer than `max_model_len` or the model's own context."""
    check_length(point.workload, longest_asked(point))
    check_context(point)


def longest_asked(point: Point) -> int | None:
    """Return `max_model_len`. None if it is left to vLLM, as by -1."""
    length = point.engine.arguments.get("max_model_len")
    return length if isinstance(length, int) and length > 0 else None


def check_load(work: WorkloadSection) -> None:
    """Refuse more requests in flight than there are requests: the levels above would be measured alike."""
    if work.concurrency is not None:
        check_in_flight(work, CONCURRENCY, work.concurrency)
    if isinstance(work.arrivals, ClosedLoop):
        check_in_flight(work, USERS, work.arrivals.users)


def check_in_flight(work: WorkloadSection, name: str, wanted: int, place: str = "") -> None:
    if work.num_prompts is not None and wanted > work.num_prompts:
        raise InputError(
            f"only {work.num_prompts} are ever in flight at {place}{name} = {wanted}: raise workload.num_prompts"
        )


def check_stop(point: Point) -> None:
    """Refuse a stop condition that can never become true."""
    stop, work = point.stop, point.workload
    if not point.probe and stop != Stop():
        raise InputError("probe = false: without a recording only complete answers are counted: leave [stop] out")
    count = work.most_requests  # None: all of a file
    if stop.requests is not None and count is not None and stop.requests >= count:
        raise InputError(
            f"stop.requests is {stop.requests}, and there are no more than {count}: set workload.num_prompts higher"
        )
    if stop.steady is not None and count is not None and count <= work.max_in_flight and work.arrivals is None:
        raise InputError(
            f"stop.steady: {count} concurrent requests are a burst, which is never steady: set workload.num_prompts to "
            "many times as many"
        )


def check_window(point: Point) -> None:
    """Refuse an operator window that cannot be recorded: vLLM's own profiler is on, or the run is too short.

    Every step computes at least one token, so a run of known lengths has at most as many steps as tokens.
    """
    if point.operators is None:
        return
    window, work = operator_window(point.operators), point.workload
    if not point.probe:
        raise InputError("probe = false: nothing is recorded: leave operators out")
    if profiling := [name for name in point.engine.arguments if name.split(".")[0] == "profiler_config"]:
        raise InputError(
            f"operators is {window}, and {profiling[0]} gives the engine a profiler: leave one of the two out"
        )
    requests, length = work.most_requests, work.tokens_at_end
    if work.hold or requests is None or length is None:
        return
    if window.last >= requests * length:
        raise InputError(
            f"operators is {window}, and {requests} requests of {length} tokens have fewer steps than "
            f"{window.last + 1:,}: give an earlier window, or more requests"
        )


def check_kept(point: Point) -> None:
    """Refuse to keep what the engine does not return, such as text without a tokenizer."""
    kept, arguments = point.answers, point.engine.arguments
    if kept is None:
        return
    if not point.probe and kept.keep is not None:
        raise InputError("probe = false: nothing is recorded: leave answers out")
    if kept.keep == "text":
        check_tokenizer(point.engine, 'answers.keep = "text" asks for text')
    if kept.logprobs and str(arguments.get("logprobs_mode", "")).endswith("logits"):
        raise InputError(
            f"answers.logprobs: logprobs_mode is {arguments['logprobs_mode']}, which gives logits: leave it out"
        )
    if kept.logprobs and arguments.get("max_logprobs") in (0, 1):
        raise InputError(
            f"answers.logprobs needs two at each place, and max_logprobs is {arguments['max_logprobs']}: raise it to 2"
        )


def check_saturated(sweep: SweepFile) -> None:
    asked = sweep.stop.saturated
    if asked is None:
        return
    if sweep.adaptive is not None:
        raise InputError("stop.saturated is for grids; a search ends by itself: leave it out")
    if not asked.axis.startswith(WORKLOAD) or asked.axis not in sweep.axes:
        known = [name for name in sweep.axes if name.startswith(WORKLOAD)]
        raise InputError(
            f"stop.saturated.axis is {asked.axis}, which is not a load axis of this sweep"
            + suggestion(asked.axis, known, f": {', '.join(known) or 'none'} are")
        )
    axis = sweep.axes[asked.axis]
    values = axis.values(asked.axis) if isinstance(axis, Range) else axis
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise InputError(f"stop.saturated.axis: the values of {asked.axis} are not numbers")
    if values != sorted(values):
        raise InputError(f"stop.saturated goes up {asked.axis}: give its values in ascending order, not {values}")


def check_context(point: Point) -> None:
    """Refuse lengths beyond the model's own context, if its configuration is on this machine."""
    longest, max_model_len = longest_of(point), longest_asked(point)
    if longest is None:
        return
    if max_model_len is not None and max_model_len > longest:
        raise InputError(
            f"max_model_len is {max_model_len}, more than {point.engine.model} takes: give at most {longest}"
        )
    if max_model_len is None:
        check_length(point.workload, longest, f"what {point.engine.model} takes", "shorten them")


def longest_of(point: Point) -> int | None:
    """Return the model's own context. None if it is not known here, or `hf_overrides` may change it."""
    return None if "hf_overrides" in point.engine.arguments else max_context(point.engine.model)


def check_length(
    workload: WorkloadSection,
    max_model_len: int | None,
    name: str = "max_model_len",
    advice: str = "shorten them, or raise max_model_len",
) -> None:
    """Refuse lengths that do not fit: vLLM would silently end such answers early."""
    asked = workload.tokens_at_end  # None: drawn or read, and checked when the requests are made
    if asked is None or max_model_len is None or asked <= max_model_len:
        return
    match workload.prompts:
        case Conversations():
            words = "a conversation in its last turn"
        case SharedPrefix():
            words = "prefix_len + input_len + output_len"
        case _:
            words = "input_len + output_len"
    raise InputError(f"{words} is {asked}, more than {name} = {max_model_len}: {advice}")


def check_requests(found: list[Point]) -> None:
    """Check that the files of the workloads can be read and drawn lengths fit; a dry run needs neither."""
    check_files(found)
    for point in {repr((point.engine, point.workload)): point for point in found}.values():
        work = point.workload.description()
        if isinstance(work.prompts, Questions):
            check_tokenizer(point.engine, f"{work.prompts.paths[0]} holds text")
            check_chat_template(point.engine, work.prompts.paths[0])
        elif isinstance(work.prompts, Texts):
            check_tokenizer(point.engine, "workload.prompts.texts are text")
        elif isinstance(work.prompts, Dataset):
            check_tokenizer(point.engine, f"{work.prompts.path} holds text")
            check_entries(work.prompts, work.output_len is None)
        elif not (isinstance(point.workload.input_len, int) and isinstance(work.output_len, int)):
            longest = longest_asked(point) or longest_of(point)
            if longest is not None:
                check_plans([point], cpu().memory_bytes)  # the plan is made here, too
                check_fits(make_plan(work), longest)


def check_tokenizer(engine: EngineSection, why: str) -> None:
    """Refuse text, asked or answered, for a model without a tokenizer."""
    if engine.model in catalogue_names() and "tokenizer" not in engine.arguments:
        raise InputError(
            f"{why}, and {engine.model} has no tokenizer: name one (engine argument tokenizer), "
            "or use a folder with weights and tokenizer as the model"
        )
    if engine.arguments.get("skip_tokenizer_init"):
        raise InputError(f"{why}, and skip_tokenizer_init leaves the engine without a tokenizer: leave it out")


def check_chat_template(engine: EngineSection, path: str) -> None:
    """Refuse questions for a model that has no chat template, if its files are on this machine."""
    named = str(engine.arguments.get("tokenizer") or engine.model)
    folder = Path(named).expanduser()
    if named != "tiny" and (not folder.is_dir() or has_chat_template(folder)):
        return
    raise InputError(
        f"{path} asks questions, but {named} has no chat template: use a model that was taught to chat, such as smollm2"
    )


def has_chat_template(folder: Path) -> bool:
    if any(folder.glob("chat_template*")) or not (folder / "tokenizer_config.json").is_file():
        return True  # not known; the engine will say
    written = read_json(folder / "tokenizer_config.json")
    return isinstance(written, dict) and bool(written.get("chat_template"))


def check_entries(dataset: Dataset, with_answers: bool) -> None:
    """Read the whole file and refuse a damaged entry; token counts are known only to the model's tokenizer."""
    if with_answers:
        check_answers(dataset)
        return
    for _ in read_entries(dataset):
        pass


def check_questions_here(found: list[Point]) -> None:
    """Refuse a broken line of a question set whose file is on this machine, as in a dry run."""
    for prompts in dict.fromkeys(point.workload.prompts for point in found):
        if isinstance(prompts, Questions) and are_here(prompts.paths):
            read_question_sets(prompts.paths)


def check_files(found: list[Point]) -> None:
    """Refuse files that are missing, and question sets with a broken line."""
    for prompts in dict.fromkeys(point.workload.prompts for point in found):
        if isinstance(prompts, Questions):
            read_question_sets(prompts.paths)
            continue
        for path in prompt_files(prompts):
            if not Path(path).is_file():
                raise InputError(
                    f"workload.prompts.path: there is no file {path}: give yours with --set workload.prompts.path=FILE"
                )


LEAVE_OUT = "or leave check_integrity out"


def check_comparable(sweep: SweepFile, found: Sequence[Point]) -> None:
    """Refuse a sweep whose answers cannot be compared over the load, before an engine starts."""
    if not sweep.check_integrity:
        return
    if sweep.adaptive is not None:
        raise InputError(f"check_integrity compares loads that are given, not searched: list them in axes, {LEAVE_OUT}")
    for point in found:
        check_answers_compare(point)
    by_curve: dict[str, set[float]] = {}
    counts: dict[str, set[int | None]] = {}
    for point in found:
        name = json.dumps(point.curve, sort_keys=True)
        by_curve.setdefault(name, set()).add(point.load)
        counts.setdefault(name, set()).add(point.workload.sessions)
    for name, loads in by_curve.items():
        if len(loads) < 2:
            raise InputError(
                f"check_integrity compares the answers of several loads, and there is only {loads.pop():g}: give an "
                f"axis such as workload.concurrency = [1, 8], {LEAVE_OUT}"
            )
        if len(counts[name]) > 1:
            raise InputError(
                "check_integrity compares answers to the same prompts, and workload.num_prompts is "
                f"{' or '.join(map(str, sorted(counts[name], key=str)))}, by the load: give one number, {LEAVE_OUT}"
            )


def check_answers_compare(point: Point) -> None:
    sampling = point.workload.sampling
    if sampling.temperature:
        raise InputError(
            f"workload.sampling.temperature is {sampling.temperature:g}, and check_integrity compares greedy answers "
            f"token by token, because sampled ones differ anyway: set it to 0, {LEAVE_OUT}"
        )
    if isinstance(point.workload.prompts, Conversations):
        raise InputError(
            "check_integrity compares answers to the same prompts, and later turns of conversations hold earlier "
            f"answers: give other prompts, {LEAVE_OUT}"
        )
    if not point.probe:
        raise InputError(f"probe = false: nothing is recorded, so that no answers are compared: leave it, {LEAVE_OUT}")
