"""A sweep with its results behind a URI: it runs in a local folder, whose files are uploaded while it goes on."""

import os
import shutil
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.config_file import RESULT_FILE
from engine_probe.recordings.remote_folder import RemoteFolder


class Mirror:
    """Uploads what is new in `folder`, where the sweep runs, to a remote folder."""

    def __init__(self, remote: RemoteFolder, resume: bool) -> None:
        """Require a new or empty remote folder; to resume a sweep, download what is there."""
        there = remote.files()
        if resume and RESULT_FILE not in there:
            raise InputError(f"--resume {remote.uri}: no sweep was written there: give the URI of a sweep")
        if there and not resume:
            raise InputError(f"{remote.uri} already holds something and is never overwritten: name another with --out")
        remote.check_writable()
        self._remote = remote
        self.folder = Path(tempfile.mkdtemp(prefix="engine_probe-sweep-"))
        if resume:
            remote.get(self.folder)
        self._sent = self._here()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="engine_probe-sender")
        self._sending: Future[None] | None = None

    def send(self) -> None:
        """Upload in the background what is complete, and raise an error of the upload before."""
        here = self._here()
        if self._sending is not None and not self._sending.done():
            return  # the next call, or `close`, uploads what is new since
        self.wait()
        self._sending = self._sender.submit(self._send, here)

    def wait(self) -> None:
        """Block until the upload in progress has ended, and raise its error."""
        if self._sending is not None:
            self._sending.result()

    def close(self) -> None:
        """Upload the rest, and remove the local folder once everything is uploaded."""
        self.wait()
        self._send(self._here())
        self._sender.shutdown()
        if not self._sent:
            self._remote.remove_if_empty()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _send(self, here: dict[str, tuple[int, int]]) -> None:
        """Upload tables before the `run.json` that refers to them, and `sweep.json` last."""
        fresh = [name for name, state in here.items() if self._sent.get(name) != state]
        fresh.sort(key=lambda name: (name == RESULT_FILE, name.endswith("run.json"), name))
        try:
            for name in fresh:
                if self._put(name):
                    self._sent[name] = here[name]
            for name in self._sent.keys() - here.keys():  # renamed here: a recording that was set aside
                self._remote.delete(name)
                del self._sent[name]
        except UnavailableError as error:
            raise UnavailableError(
                f"{error}; everything measured is kept in {self.folder}: continue with --resume {self.folder}"
            ) from error

    def _put(self, name: str) -> bool:
        """Upload a file. Return False if it vanished: a folder renamed meanwhile is found under its new name later."""
        try:
            self._remote.put(self.folder, name)
        except UnavailableError:
            if (self.folder / name).exists():
                raise
            return False
        return True

    def _here(self) -> dict[str, tuple[int, int]]:
        """Return size and change time by name, without files that are still being written (a dot in front).

        Engines of a fleet bring files meanwhile: one that vanishes under its name is found later under another.
        """
        found = {}
        for folder, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for path in (Path(folder) / name for name in names if not name.startswith(".")):
                with suppress(FileNotFoundError):
                    state = path.stat()
                    found[str(path.relative_to(self.folder))] = (state.st_size, state.st_mtime_ns)
        return found
