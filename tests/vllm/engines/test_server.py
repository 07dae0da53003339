"""vLLM's own server, in the form that starts with both builds, leaves a complete recording."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_probe import load
from engine_probe.engine.models.embedded import tiny_folder
from engine_probe.plugin import RECORD_VARIABLE
from engine_probe.record.run_folder import COMPLETE
from tests.support.processes.command import ENGINE_SECONDS

SERVER = ("-m", "vllm.entrypoints.openai.api_server")
ARGUMENTS = ("--kv-cache-memory-bytes", "64M", "--shutdown-timeout", "30", "--served-model-name", "tiny")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that records into `recordings`, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ("--host", "127.0.0.1", "--port", str(port), "--model", str(tiny_folder()))
    environment = {**os.environ, RECORD_VARIABLE: str(tmp_path / "recordings")}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with (tmp_path / "server.log").open("wb") as log:
        command = [sys.executable, *SERVER, *where, *ARGUMENTS]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(ENGINE_SECONDS)


def wait_until_it_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + ENGINE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-4000:]
        try:
            urllib.request.urlopen(f"{address}/health", timeout=10).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"the server did not answer: {log.read_text()[-4000:]}")


@pytest.mark.slow
def test_a_request_and_ctrl_c_leave_a_complete_recording(
    server: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, address = server
    wait_until_it_answers(process, address, tmp_path / "server.log")
    asked = json.dumps({"model": "tiny", "prompt": "hello", "max_tokens": 8, "ignore_eos": True}).encode()
    request = urllib.request.Request(f"{address}/v1/completions", asked, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=ENGINE_SECONDS) as answer:
        assert json.load(answer)["usage"]["completion_tokens"] == 8
    process.send_signal(signal.SIGINT)
    assert process.wait(ENGINE_SECONDS) == 0
    (recording,) = (tmp_path / "recordings").iterdir()
    run = load(recording)
    assert run.status == COMPLETE
    assert run.requests.num_rows == 1
