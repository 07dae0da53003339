"""The README's commands and snippets, run as printed and in its order, beside a planted load.

A command may rest on what an earlier one left (`runs/first`), as it does for a reader. `make test-readme` runs this.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import venv
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import engine_probe
from tests.support.processes.planted_load import planted_load

pytestmark = [pytest.mark.readme, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# A line of the table of commands: everything in its first column that is a command.
IN_TABLE = re.compile(r"^\| `(engine_probe [^`]+)` \|", re.MULTILINE)
# What a reader fills in: `git+URL` is the address that this repository was cloned from.
FILLED_IN = {"git+URL": f"git+file://{ROOT}"}
SERVER = re.compile(r"api_server|\bserve\b")
SERVER_URL = "http://127.0.0.1:8000"
INSTALLER = ("pip ", "uvx ")
# A machine of a fifth of the speed would sweep for an hour. There a reader presses Ctrl-C; so does the test, and what
# was measured until then must be there.
SWEEP = "make sweep"
SWEEP_SECONDS = 900


def printed() -> list[tuple[str, str]]:
    """Every command and snippet: what runs it, and its text; blocks first, then the table."""
    found = []
    for language, text in BLOCK.findall(README):
        text = text.replace("\\\n", " ")
        found += [(language, text)] if language == "python" else [("sh", line) for line in text.splitlines()]
    commands = [(language, text.partition(" #")[0].strip()) for language, text in found if language == "sh"]
    snippets = iter([text for language, text in found if language == "python"])
    ordered = [(language, next(snippets)) if language == "python" else commands.pop(0) for language, _ in found]
    return [item for item in ordered if item[1]] + [("sh", command) for command in IN_TABLE.findall(README)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone holds, with this environment."""
    folder = tmp_path_factory.mktemp("readme") / "engine_probe"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture(scope="module", autouse=True)
def others_at_work() -> Iterator[None]:
    with planted_load():
        yield


@pytest.fixture(scope="module")
def environment(checkout: Path) -> dict[str, str]:
    """As in a shell that has activated `.venv`; vLLM's default of a separate engine process is left alone."""
    path = os.pathsep.join([str(checkout / ".venv" / "bin"), os.environ["PATH"]])
    known = {**os.environ, "PATH": path, "PYTHONPATH": str(checkout)}
    # Nor are those left that `make test-readme ARGS=...` would hand on to `make sweep`.
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "OMP_WAIT_POLICY", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS"):
        known.pop(name, None)
    return known


@pytest.fixture(scope="module")
def empty_environment(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> dict[str, str]:
    """An environment of its own for what installs, so that `.venv` stays as it is."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    known = {**environment, "PATH": os.pathsep.join([str(folder / "bin"), environment["PATH"]])}
    known.pop("PYTHONPATH")
    return known


@pytest.mark.parametrize(("language", "text"), printed(), ids=[text.splitlines()[0][:70] for _, text in printed()])
def test_it_runs_as_printed(
    language: str, text: str, checkout: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if language == "python":
        run([sys.executable, "-c", text], checkout, environment)
    elif SERVER.search(text):
        serve(text, checkout, environment)
    else:
        for placeholder, value in FILLED_IN.items():
            text = text.replace(placeholder, value)
        if text.startswith(INSTALLER):
            environment = request.getfixturevalue("empty_environment")
        if text == SWEEP:
            sweep(checkout, environment)
        else:
            run(["bash", "-c", text], checkout, environment)


def run(command: list[str], checkout: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr


def sweep(checkout: Path, environment: dict[str, str]) -> None:
    """The sweep ends by itself, or after SWEEP_SECONDS by Ctrl-C; a finished point is a row then."""
    log = checkout / "sweep.log"
    with log.open("w") as written:
        making = subprocess.Popen(
            ["bash", "-c", f"trap - INT; exec {SWEEP}"],
            cwd=checkout,
            env=environment,
            stdout=written,
            stderr=written,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            making.wait(SWEEP_SECONDS)
            interrupted = False
        except subprocess.TimeoutExpired:
            interrupted = True
            warnings.warn(f"`{SWEEP}` was interrupted after {SWEEP_SECONDS} s", stacklevel=1)
            os.killpg(making.pid, signal.SIGINT)  # as a terminal does
            making.wait(120)
        finally:
            if making.poll() is None:
                os.killpg(making.pid, signal.SIGKILL)
    told = log.read_text(errors="replace")
    assert "Traceback" not in told, told[-3000:]
    assert (making.returncode != 0) == interrupted, told[-3000:]
    (folder,) = (path.parent for path in (checkout / "runs").rglob("sweep.json"))
    rows = json.loads((folder / "sweep.json").read_text())["points"]
    assert any(row["status"] == "complete" for row in rows), told[-3000:]


def serve(text: str, checkout: Path, environment: dict[str, str]) -> None:
    """The server answers a request, ends on Ctrl-C, and leaves a complete recording with that request in it."""
    server = subprocess.Popen(
        ["bash", "-c", f"exec env {text}"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until_healthy(server)
        model = json.load(urllib.request.urlopen(f"{SERVER_URL}/v1/models"))["data"][0]["id"]
        asked = json.dumps({"model": model, "prompt": "The capital of France is", "max_tokens": 8}).encode()
        request = urllib.request.Request(
            f"{SERVER_URL}/v1/completions", asked, {"Content-Type": "application/json"}, method="POST"
        )
        assert json.load(urllib.request.urlopen(request, timeout=900))["usage"]["completion_tokens"] > 0
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=900)
    finally:
        server.kill()
        server.wait()
    (folder,) = (checkout / "runs" / "serving").iterdir()
    recording = engine_probe.load(folder)
    assert recording.status == "complete", recording.notes
    assert recording.requests.num_rows == 1


def wait_until_healthy(server: subprocess.Popen[str], seconds: float = 900) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.poll() is not None:
            pytest.fail(f"the server ended: {server.communicate()[0][-3000:]}")
        try:
            urllib.request.urlopen(f"{SERVER_URL}/health", timeout=5)
        except OSError:
            time.sleep(1)
        else:
            return
    pytest.fail(f"the server did not answer within {seconds:g} s")
