"""The Python of the docs, of docstrings and of notebooks: public names, and an engine where a Probe reaches it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from pathlib import Path

import pytest

import engine_probe

ROOT = Path(__file__).parents[2]
SETTING = 'os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"'


def snippets() -> dict[str, str]:
    """Each piece of Python that a reader may copy, by where it stands; of a notebook all cells together."""
    found = {}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        ):
            found[f"{path.name} {number + 1}"] = block
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    indented = re.findall(r"(?:^    .*\n|^\n)+", inspect.getdoc(engine_probe) or "", re.MULTILINE)
    return found | {f"engine_probe {number + 1}": textwrap.dedent(block) for number, block in enumerate(indented)}


SNIPPETS = {name: text for name, text in snippets().items() if text.strip()}


@pytest.mark.parametrize("name", SNIPPETS)
def test_its_names_are_public(name: str) -> None:
    for node in ast.walk(ast.parse(SNIPPETS[name])):
        if isinstance(node, ast.ImportFrom) and node.module == "engine_probe":
            assert {alias.name for alias in node.names} <= set(engine_probe.__all__)


@pytest.mark.parametrize("name", SNIPPETS)
def test_what_it_imports_from_a_room_is_there(name: str) -> None:
    for node in ast.walk(ast.parse(SNIPPETS[name])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("engine_probe."):
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.mark.parametrize("name", [name for name, text in SNIPPETS.items() if "LLM(" in text])
def test_who_builds_an_engine_keeps_it_in_this_process(name: str) -> None:
    text = SNIPPETS[name]
    assert SETTING in text
    assert text.index(SETTING) < text.index("import LLM")


def test_engines_are_built_in_the_docs_and_the_docstring() -> None:
    assert {name.split()[0] for name, text in SNIPPETS.items() if "LLM(" in text} >= {"reading.md", "engine_probe"}
