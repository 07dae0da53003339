"""Folders behind a URI (`s3://`, `gs://`, `abfs://`, `file://`, …, as pyarrow.fs opens them), and local copies."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from engine_probe.errors import InputError, UnavailableError
from engine_probe.files.cache_folder import cache_folder, locked
from engine_probe.files.safe_read import reason

URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
PROBE_FILE = ".engine_probe-can-write"
ADDRESS_FILE = ".uri"  # beside a copy, holds its URI
OUTSIDE = {"..", "."}  # parts of a name that lead out of the folder


def is_uri(place: object) -> bool:
    return isinstance(place, str) and URI.match(place) is not None


class RemoteFolder:
    """A folder on a file system of pyarrow; `uri` names it in messages."""

    def __init__(self, filesystem: Any, base: str, uri: str) -> None:
        self._filesystem, self._base, self.uri = filesystem, base.rstrip("/"), uri.rstrip("/")

    @classmethod
    def at(cls, uri: str) -> Self:
        """Refuse a URI that no file system serves; nothing is opened yet."""
        import pyarrow as pa
        from pyarrow import fs

        try:
            filesystem, base = fs.FileSystem.from_uri(uri)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{uri}: {reason(error)}; give a URI that pyarrow.fs opens, or a folder") from error
        if OUTSIDE & {*uri.split("/"), *base.split("/")}:
            raise InputError(f"{uri} goes through '.' or '..': name the folder itself")
        if not base.strip("/"):
            raise InputError(f"{uri} names no folder: add one, as in {uri.rstrip('/')}/NAME")
        return cls(filesystem, base, uri)

    def files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of change (ns) of every file by its name; empty if there is no such folder."""
        from pyarrow import fs

        with self._named("read"):
            found = self._filesystem.get_file_info(fs.FileSelector(self._base, recursive=True, allow_not_found=True))
        return {
            self._checked(info.path[len(self._base) :].lstrip("/")): (info.size, info.mtime_ns or 0)
            for info in found
            if info.type == fs.FileType.File
        }

    def _checked(self, name: str) -> str:
        """Refuse a key that is not the name of a file below the folder; in a bucket keys are arbitrary."""
        if OUTSIDE & set(name.split("/")) or "" in name.split("/") or "\0" in name:
            raise InputError(f"{self.uri} holds {name[:200]!r}, which is not the name of a file: remove it there")
        return name

    def check_writable(self) -> None:
        with self._named("write"):
            self._filesystem.create_dir(self._base, recursive=True)
            with self._filesystem.open_output_stream(f"{self._base}/{PROBE_FILE}") as stream:
                stream.write(b"")
            self._filesystem.delete_file(f"{self._base}/{PROBE_FILE}")

    def put(self, folder: Path, name: str) -> None:
        """Upload this file of `folder`."""
        from pyarrow import fs

        target = f"{self._base}/{name}"
        with self._named("write"):
            self._filesystem.create_dir(target.rpartition("/")[0], recursive=True)
            fs.copy_files(str(folder / name), target, fs.LocalFileSystem(), self._filesystem)

    def delete(self, name: str) -> None:
        with self._named("write"):
            self._filesystem.delete_file(f"{self._base}/{name}")

    def remove_if_empty(self) -> None:
        """Remove the folder if it holds no file."""
        with self._named("write"):
            if not self.files():
                self._filesystem.delete_dir(self._base)

    def get(self, folder: Path) -> None:
        """Make `folder` a copy: download new and changed files, and delete those that are gone."""
        from pyarrow import fs

        there = self.files()
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if str(path.relative_to(folder)) not in there:
                path.unlink()
        for name, (size, changed_ns) in there.items():
            path = folder / name
            if path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns) == (size, changed_ns):
                continue
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            with self._named("read"):
                path.parent.mkdir(parents=True, exist_ok=True)
                partial.unlink(missing_ok=True)
                fs.copy_files(f"{self._base}/{name}", str(partial), self._filesystem, fs.LocalFileSystem())
                os.utime(partial, ns=(changed_ns, changed_ns))
                partial.replace(path)

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise UnavailableError(f"cannot {what} {self.uri}: {reason(error)}") from error


def local_copy(uri: str) -> Path:
    """Copy the folder behind a URI to the cache, downloading only what changed, and return the copy."""
    remote = RemoteFolder.at(uri)
    copy = cache_folder() / "remote" / hashlib.sha256(remote.uri.encode()).hexdigest()[:16] / remote.uri.split("/")[-1]
    if not remote.files():
        raise InputError(f"{uri} is empty: give the folder of a recording or sweep")
    try:
        with locked(copy):  # processes that read the same URI take turns
            remote.get(copy)
            copy.with_name(ADDRESS_FILE).write_text(uri)
    except OSError as error:
        raise UnavailableError(
            f"cannot write {copy}: {error.strerror}; choose another place with ENGINE_PROBE_CACHE"
        ) from error
    return copy


def place_name(folder: Path) -> str:
    """Return the URI of a folder that is a copy in the cache, or the path of any other folder."""
    address = folder.with_name(ADDRESS_FILE)
    if folder.parents[1:2] == (cache_folder() / "remote",) and address.is_file():
        return address.read_text()
    return str(folder)
