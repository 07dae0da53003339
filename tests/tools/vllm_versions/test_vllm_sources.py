"""Changed parameters and unknown writers of counted fields are found in vLLM's sources; this version has none."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tools.vllm_versions.vllm_sources import PARAMETERS, WRITERS, changed_parameters, unknown_writers

SPEC = find_spec("vllm")
SOURCES = Path(SPEC.origin).parents[1] if SPEC and SPEC.origin else Path()
needs_sources = pytest.mark.skipif(SPEC is None, reason="no vLLM is installed")
CHECKED = sorted({place.split()[0] for places in (PARAMETERS, *WRITERS.values()) for place in places})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources that are checked, to be changed."""
    for name in CHECKED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCES / name, tmp_path / name)
    return tmp_path


def changed(folder: Path, name: str, there: str, instead: str) -> Path:
    text = (folder / name).read_text()
    assert there in text, "this test is about another vLLM"
    (folder / name).write_text(text.replace(there, instead))
    return folder


@needs_sources
def test_the_installed_vllm_is_as_the_hooks_take_it() -> None:
    assert changed_parameters(SOURCES) == []
    assert unknown_writers(SOURCES) == []


@needs_sources
@pytest.mark.parametrize(
    ("name", "there", "instead", "method"),
    [
        ("vllm/v1/core/block_pool.py", "def touch(self, blocks", "def touch(self, group, blocks", "BlockPool.touch"),
        ("vllm/v1/core/kv_cache_manager.py", "reserved_blocks: int", "spared: int", "KVCacheManager.allocate_slots"),
    ],
)
def test_a_changed_parameter_is_named(copy: Path, name: str, there: str, instead: str, method: str) -> None:
    (found,) = changed_parameters(changed(copy, name, there, instead))
    assert f"{name}: {method} takes" in found


@needs_sources
@pytest.mark.parametrize(
    ("name", "there", "instead", "said"),
    [
        (
            "vllm/v1/core/sched/scheduler.py",
            "    def has_finished_requests(self",
            "    def drop(self):\n        self.running.pop()\n\n    def has_finished_requests(self",
            "Scheduler.drop writes running",
        ),
        ("vllm/v1/core/block_pool.py", "    def touch(", "    def hold(", "BlockPool.hold writes ref_cnt"),
    ],
)
def test_an_unknown_writer_is_named(copy: Path, name: str, there: str, instead: str, said: str) -> None:
    (found,) = unknown_writers(changed(copy, name, there, instead))
    assert said in found


def test_an_assignment_to_the_whole_list_is_a_write(tmp_path: Path) -> None:
    place = tmp_path / "vllm/v1/core/other.py"
    place.parent.mkdir(parents=True)
    place.write_text("class Other:\n    def sort(self):\n        self.running = sorted(self.running)\n")
    assert unknown_writers(tmp_path) == [
        "vllm/v1/core/other.py: Other.sort writes running, which the counters do not follow"
    ]
