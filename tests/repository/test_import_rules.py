"""Each room imports only what its rule names, no module imports itself by a detour, and importing stays light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "engine_probe"
KERNELS_BENCH = ROOT / "kernels_bench"
PAGE_KIT = ROOT / "page_kit"
HEAVY = {"torch", "vllm", "transformers", "pyarrow", "numpy"}
ENGINE_LIBRARIES = {"torch", "vllm", "transformers"}
MOST_ENTRIES = 14
MOST_LINES = 50  # of a function

# room or module of the package's root -> the rooms, or single modules, of the package that it may import
MAY_IMPORT = {
    "errors": set(),
    "text_format": set(),
    "notebook_view": set(),
    "files": {"errors", "text_format"},
    "record": {"errors", "files"},
    "hook": {"errors", "record", "telemetry.core_thread"},
    "telemetry": {"errors", "record"},
    "workload": {"errors", "files", "text_format", "record.schema"},
    "perplexity": {"errors", "files"},
    "engine": {"errors", "files", "text_format"},
    # Descriptions that figures depend on: how many ranks an engine has, how hard a workload pushes it, and what the
    # recorded codes mean.
    "analysis": {
        *("errors", "text_format", "files", "notebook_view", "engine.parallelism", "engine.twin.step_times"),
        *("engine.twin.drafts.acceptance", "workload.load", "record.schema"),
        *("record.host_events", "workload.question_set"),
    },
    "recordings": {
        *("errors", "text_format", "files", "notebook_view", "record", "analysis", "perplexity", "workload.load"),
        *("workload.question_set", "engine.parallelism"),
    },
    "evaluation": {
        "errors",
        "files",
        "notebook_view",
        "text_format",
        "analysis",
        "recordings",
        "engine.parallelism",
        "perplexity.perplexity_spec",
        "workload.load",
        "workload.question_set",
    },
    "export": {"errors", "files", "record", "analysis", "recordings"},
    "report": {
        *(
            "errors",
            "text_format",
            "files",
            "record.schema",
            "record.run_folder",
            "analysis",
            "recordings",
            "evaluation",
        ),
        *(
            "workload.workload_spec",
            "workload.load",
            "engine.twin.capacity_plan",
            "engine.twin.drafts.acceptance",
            "engine.twin.step_times",
            "engine.twin.engine_choice",
        ),
    },
    "probe_arguments": {"errors", "record"},
    "recording": {"errors", "record", "hook", "telemetry"},
    "probe": {"errors", "record", "hook", "telemetry", "recordings", "recording", "probe_arguments"},
    "notebook_magic": {"errors", "probe", "recordings.run"},
    "plugin": {"record", "hook", "probe", "engine.cpu.amx"},
    "overhead": {"errors", "record", "telemetry", "workload", "engine", "hook", "probe"},
    "sweep": {
        *("errors", "text_format", "files", "record", "telemetry", "workload", "perplexity", "engine", "analysis"),
        *("recordings", "probe", "hook.vllm_versions", "hook.engine_core", "report.renderers.live"),
        "report.renderers.plain_table",
        "evaluation.money.price_list",  # by which limits on costs are judged
    },
    "commands": {
        *("errors", "text_format", "files", "record", "telemetry", "workload", "perplexity", "engine", "analysis"),
        *("recordings", "evaluation", "export", "report", "overhead", "sweep", "hook.vllm_versions"),
        "hook.workers.operators",
    },
    "cli": {"errors", "text_format", "commands"},
    "__main__": {"cli"},
    "__init__": {"errors", "probe", "recordings", "evaluation", "engine.models.embedded", "notebook_magic"},
}

# Data flows one way within the report: charts and sections make a document, and renderers draw it.
WITHIN_REPORT: dict[str, set[str]] = {
    "charts": set(),
    "document": {"charts"},
    "brief_document": {"charts", "document"},
    "sections": {"charts", "document"},
    "renderers": {"brief_document", "charts", "document", "sections"},
}

# The rooms that may load torch, vllm or transformers. Analysis, report and notebooks run on a laptop without them.
MAY_LOAD_AN_ENGINE = {"hook", "engine", "workload", "perplexity", "overhead", "commands", "__init__"}

# The import against the arrows, inside a function: what a notebook shows is drawn by the report.
UPWARDS = {("notebook_view", "report.renderers.notebook")}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@dataclass(frozen=True)
class Contents:
    imports: frozenset[str]  # the full name of everything that is imported, at the top or later
    functions: dict[str, int]  # the most lines of a function of each name


@cache
def contents(path: Path) -> Contents:
    """Return what is asked of a file, without its tree: the trees of all files at once took twice the time."""
    imports, functions = set(), {}
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imports |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            functions[node.name] = max(lines, functions.get(node.name, 0))
    return Contents(frozenset(imports), functions)


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield every statement below a node, without a walk through expressions, which hold none."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, field, ()):
            if isinstance(child, ast.stmt):
                yield child
            yield from statements(child)


@cache
def own_imports(module: str) -> frozenset[str]:
    """Return the modules of the package that one of them imports, without the named ones that go upwards."""
    found = set()
    for name in contents(MODULES[module]).imports:
        inside = name.removeprefix("engine_probe.")
        known = next((each for each in (inside, inside.rpartition(".")[0]) if each in MODULES), None)
        if name.startswith("engine_probe.") and known:
            found.add(known)
    return frozenset(each for each in found if (module, each) not in UPWARDS)


def room_of(module: str) -> str:
    return module.partition(".")[0]


def drawing() -> str:
    """Draw the rooms in Mermaid: dotted arrows to single modules, none to rooms that other arrows lead to."""
    rooms = {room: {room_of(rule) for rule in rules} - {room} for room, rules in MAY_IMPORT.items()}
    lines = ["flowchart TD"]
    for room in reversed(rooms):
        direct = [each for each in rooms[room] if not any(each in below(rooms, other) for other in rooms[room])]
        for arrow, is_whole in (("-->", True), ("-.->", False)):
            targets = sorted(each for each in direct if (each in MAY_IMPORT[room]) == is_whole)
            if targets:
                lines.append(f"    {room} {arrow} {' & '.join(targets)}")
    return "\n".join(lines)


def below(rooms: dict[str, set[str]], room: str) -> set[str]:
    """Return every room that the arrows of a room lead to, over any number of steps."""
    return set().union(*({each} | below(rooms, each) for each in rooms[room]))


def test_the_picture_in_the_architecture_shows_these_arrows() -> None:
    assert f"```mermaid\n{drawing()}\n```" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"), drawing()


def test_every_room_has_a_rule() -> None:
    assert {room_of(module) for module in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    for module in MODULES:
        if room_of(module) != room:
            continue
        for imported in own_imports(module):
            allowed = any(f"{imported}.".startswith(f"{rule}.") for rule in {room, *MAY_IMPORT[room]})
            assert allowed, f"{module} imports {imported}"


@pytest.mark.parametrize("part", WITHIN_REPORT)
def test_data_flows_one_way_within_the_report(part: str) -> None:
    modules = [module for module in MODULES if f"{module}.".startswith(f"report.{part}.")]
    assert modules
    for module in modules:
        for imported in own_imports(module):
            room, _, inside = imported.partition(".")
            allowed = {part, *WITHIN_REPORT[part]}
            assert room != "report" or inside.partition(".")[0] in allowed, f"{module} imports {imported}"


def circle(imports: Mapping[str, Set[str]]) -> list[str]:
    """Return the modules of a circle of imports, in order; empty if there is none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_each_folder_of_the_report_has_a_rule() -> None:
    folders = {path.name for path in (PACKAGE / "report").iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= set(WITHIN_REPORT)


@pytest.mark.parametrize("room", sorted(set(MAY_IMPORT) - MAY_LOAD_AN_ENGINE))
def test_a_room_that_needs_no_engine_loads_none(room: str) -> None:
    for module, path in MODULES.items():
        if room_of(module) == room:
            libraries = {name.partition(".")[0] for name in contents(path).imports}
            assert not libraries & ENGINE_LIBRARIES, module


def test_no_module_imports_itself_by_a_detour() -> None:
    assert circle({module: own_imports(module) - {module} for module in MODULES}) == []


def test_a_circle_of_modules_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


def test_an_import_upwards_that_is_gone_loses_its_exception() -> None:
    for module, imported in UPWARDS:
        assert any(name.startswith(f"engine_probe.{imported}") for name in contents(MODULES[module]).imports), module


@pytest.mark.lengthy
def test_kernels_bench_runs_alone() -> None:
    """With torch and the core dependencies: nothing of engine_probe, and no vLLM."""
    files = list(KERNELS_BENCH.rglob("*.py"))
    assert files
    for path in files:
        packages = {name.partition(".")[0] for name in contents(path).imports}
        assert not packages & {"engine_probe", "vllm", "transformers", "pyarrow"}, path.name


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    """The rooms of the package excepted, which `docs/architecture.md` lists, and the tests that mirror them."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    entries = defaultdict(set)
    for path in map(Path, listed.splitlines()):
        for entry in (path, *path.parents[:-1]):
            entries[entry.parent].add(entry.name)
    crowded = {str(folder): len(names - {"__init__.py", "py.typed"}) for folder, names in entries.items()}
    assert {folder for folder, number in crowded.items() if number > MOST_ENTRIES} == {".", "engine_probe", "tests"}


@pytest.mark.parametrize("package", [PACKAGE, ROOT / "kernels_bench", ROOT / "page_kit"], ids=lambda path: path.name)
def test_a_function_can_be_read_at_once(package: Path) -> None:
    for path in sorted(package.rglob("*.py")):
        for name, lines in contents(path).functions.items():
            assert lines <= MOST_LINES, f"{path.relative_to(ROOT)}: {name} has {lines} lines"


def test_a_rule_names_what_exists() -> None:
    named = {rule for rules in MAY_IMPORT.values() for rule in rules}
    assert {rule for rule in named if not any(f"{module}.".startswith(f"{rule}.") for module in MODULES)} == set()


def test_the_page_kit_rests_on_the_standard_library_alone() -> None:
    """Both packages draw with it, so it knows neither."""
    files = list(PAGE_KIT.rglob("*.py"))
    assert files
    for path in files:
        rooms = {name.partition(".")[0] for name in contents(path).imports}
        assert rooms <= {"page_kit", *sys.stdlib_module_names}, path.name


@pytest.mark.parametrize(
    "line",
    [
        "import engine_probe",
        "from engine_probe.cli import cli; cli(['--help'], 'x', standalone_mode=False)",
        "from engine_probe.cli import cli; cli(['profile', '--help'], 'x', standalone_mode=False)",
        "from engine_probe.cli import cli; cli(['sweep', '--help'], 'x', standalone_mode=False)",
        "import kernels_bench",
        "from kernels_bench.cli import command; command(['--help'], 'x', standalone_mode=False)",
    ],
)
def test_importing_loads_nothing_heavy(line: str) -> None:
    program = f"{line}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & HEAVY
