"""Folders behind a URI, on file systems of pyarrow that are here: a folder, a part of one, and one in memory."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

import engine_probe
from engine_probe.errors import InputError, UnavailableError
from engine_probe.recordings.remote_folder import RemoteFolder, is_uri, local_copy, place_name
from engine_probe.sweep.uri_mirror import Mirror


@pytest.fixture(params=["memory", "part of a folder"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteFolder:
    if request.param == "memory":
        filesystem, _ = fs.FileSystem.from_uri("mock:///")
    else:
        (tmp_path / "far").mkdir()
        filesystem = fs.SubTreeFileSystem(str(tmp_path / "far"), fs.LocalFileSystem())
    return RemoteFolder(filesystem, "bucket/sweep", "far://bucket/sweep")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "cache"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def sizes(remote: RemoteFolder) -> dict[str, int]:
    return {name: size for name, (size, _) in remote.files().items()}


class TestAMirror:
    def test_what_is_new_goes_and_what_is_half_written_waits(self, remote: RemoteFolder) -> None:
        mirror = Mirror(remote, resume=False)
        write(mirror.folder, sweep_json="{}", points__a__rows="12345")
        write(mirror.folder / "points", **{".b.partial__rows": "1"})
        mirror.send()
        mirror.wait()
        assert sizes(remote) == {"sweep.json": 2, "points/a/rows": 5}
        write(mirror.folder, sweep_json="{ }", points__b__rows="1")
        mirror.send()
        mirror.wait()
        assert sizes(remote) == {"sweep.json": 3, "points/a/rows": 5, "points/b/rows": 1}
        mirror.close()
        assert not mirror.folder.exists()

    def test_what_promises_a_file_goes_behind_it(self, remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[str] = []
        put = RemoteFolder.put
        monkeypatch.setattr(
            RemoteFolder, "put", lambda self, folder, name: (put(self, folder, name), sent.append(name))
        )
        mirror = Mirror(remote, resume=False)
        write(mirror.folder, sweep_json="{}", engine_log="", points__a__run_json="{}", points__a__workers="1")
        mirror.send()
        mirror.wait()
        assert sent == ["engine_log", "points/a/workers", "points/a/run.json", "sweep.json"]

    def test_a_sweep_is_gone_on_with_where_it_was(self, remote: RemoteFolder) -> None:
        first = Mirror(remote, resume=False)
        write(first.folder, sweep_json="{}", points__a__run_json="cut")
        first.send()
        first.wait()
        second = Mirror(remote, resume=True)
        assert (second.folder / "points/a/run.json").read_text() == "cut"
        (second.folder / "points/a").rename(second.folder / "points/a.cut-1")
        write(second.folder, points__a__run_json="whole", points__a__rows="1")
        second.send()
        second.wait()
        assert sizes(remote) == {
            "sweep.json": 2,
            "points/a.cut-1/run.json": 3,
            "points/a/run.json": 5,
            "points/a/rows": 1,
        }

    def test_a_recording_renamed_while_it_is_sent_is_sent_under_its_new_name(
        self, remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mirror = Mirror(remote, resume=False)
        write(mirror.folder, points__a__rows="1", points__b__rows="12", sweep_json="{}")
        put = RemoteFolder.put

        def renamed_first(self: RemoteFolder, folder: Path, name: str) -> None:
            if name == "points/a/rows":
                (folder / "points/a").rename(folder / "points/a.cut-1")
            put(self, folder, name)

        monkeypatch.setattr(RemoteFolder, "put", renamed_first)
        mirror.send()
        mirror.wait()
        assert sizes(remote) == {"points/b/rows": 2, "sweep.json": 2}
        mirror.close()
        assert sizes(remote) == {"points/a.cut-1/rows": 1, "points/b/rows": 2, "sweep.json": 2}

    def test_what_is_there_is_never_overwritten(self, remote: RemoteFolder) -> None:
        mirror = Mirror(remote, resume=False)
        write(mirror.folder, sweep_json="{}")
        mirror.send()
        mirror.wait()
        with pytest.raises(InputError, match="far://bucket/sweep already holds something and is never overwritten"):
            Mirror(remote, resume=False)

    def test_going_on_with_nothing_is_refused(self, remote: RemoteFolder) -> None:
        with pytest.raises(InputError, match="far://bucket/sweep: no sweep was written there"):
            Mirror(remote, resume=True)

    def test_when_the_far_side_fails_everything_is_kept_here(
        self, remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mirror = Mirror(remote, resume=False)
        write(mirror.folder, sweep_json="{}")

        def full(*given: Any, **named: Any) -> None:
            raise OSError("quota exceeded")

        monkeypatch.setattr(fs, "copy_files", full)
        mirror.send()
        with pytest.raises(UnavailableError) as failed:
            mirror.wait()
        assert str(failed.value) == (
            "cannot write far://bucket/sweep: quota exceeded; everything measured is kept in "
            f"{mirror.folder}: continue with --resume {mirror.folder}"
        )
        assert (mirror.folder / "sweep.json").is_file()

    def test_a_slow_far_side_does_not_hold_up_the_sweep(
        self, remote: RemoteFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        arrive = threading.Event()
        put = RemoteFolder.put

        def slow(self: RemoteFolder, folder: Path, name: str) -> None:
            arrive.wait()
            put(self, folder, name)

        monkeypatch.setattr(RemoteFolder, "put", slow)
        mirror = Mirror(remote, resume=False)
        write(mirror.folder, sweep_json="{}")
        mirror.send()
        write(mirror.folder, sweep_json="{ }", points__a__rows="1")
        mirror.send()  # while the first is on its way
        assert sizes(remote) == {}
        arrive.set()
        mirror.close()
        assert sizes(remote) == {"sweep.json": 3, "points/a/rows": 1}


class TestACopy:
    def test_only_what_changed_is_fetched_again(self, tmp_path: Path) -> None:
        far = tmp_path / "far"
        write(far, run_json="{}", rows="123")
        copy = local_copy(far.as_uri())
        first = (copy / "rows").stat().st_ino
        write(far, run_json="{1}")
        os.utime(far / "run.json", ns=(1, 1))
        assert local_copy(far.as_uri()) == copy
        assert (copy / "run.json").read_text() == "{1}"
        assert (copy / "rows").stat().st_ino == first

    def test_a_copy_is_called_by_its_uri_and_another_folder_by_its_path(self, tmp_path: Path) -> None:
        write(tmp_path / "far", run_json="{}")
        uri = (tmp_path / "far").as_uri()
        assert place_name(local_copy(uri)) == uri
        assert place_name(tmp_path / "far") == str(tmp_path / "far")
        assert place_name(Path("far")) == "far"

    def test_what_is_gone_there_goes_here(self, tmp_path: Path) -> None:
        far = tmp_path / "far"
        write(far, run_json="{}", rows="123")
        copy = local_copy(far.as_uri())
        (far / "rows").unlink()
        local_copy(far.as_uri())
        assert [path.name for path in copy.iterdir()] == ["run.json"]

    def test_two_that_read_at_once_take_turns(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else one would delete what the other is still copying, or both would write the same partial file."""
        write(tmp_path / "far", run_json="{}")
        inside, most, real = 0, 0, RemoteFolder.get

        def get(remote: RemoteFolder, folder: Path) -> None:
            nonlocal inside, most
            inside, most = inside + 1, max(most, inside + 1)
            time.sleep(0.05)
            real(remote, folder)
            inside -= 1

        monkeypatch.setattr(RemoteFolder, "get", get)
        with ThreadPoolExecutor(3) as pool:
            copies = set(pool.map(local_copy, [(tmp_path / "far").as_uri()] * 3))
        assert (len(copies), most) == (1, 1)

    def test_a_cache_that_cannot_be_written_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "far", run_json="{}")
        (tmp_path / "file").write_text("no folder")
        monkeypatch.setenv("ENGINE_PROBE_CACHE", str(tmp_path / "file"))
        with pytest.raises(UnavailableError, match="choose another place with ENGINE_PROBE_CACHE"):
            local_copy((tmp_path / "far").as_uri())

    def test_nothing_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is empty"):
            local_copy((tmp_path / "far").as_uri())


class TestHostileKeys:
    """In a bucket a key is any text; a file system that invents keys stands in for one."""

    @pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a//b", "a/./b", "a\0b"])
    def test_a_key_that_leads_outside_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
    ) -> None:
        far = RemoteFolder(Invented(key), "bucket/run", "s3://bucket/run")
        with pytest.raises(InputError, match=r"s3://bucket/run holds .*, which is not the name of a file"):
            far.get(tmp_path / "copy" / "run")
        assert not (tmp_path / "copy" / "outside").exists()

    @pytest.mark.parametrize("uri", ["{}/..", "{}/../far", "{}/./x/..", "{}/%2e%2e"])
    def test_a_uri_that_goes_up_deletes_nothing(self, tmp_path: Path, cache: Path, uri: str) -> None:
        write(tmp_path / "far", run_json="{}")
        other = local_copy((tmp_path / "far").as_uri())
        with pytest.raises(InputError, match=r"goes through"):
            local_copy(uri.format((tmp_path / "far").as_uri()))
        assert (other / "run.json").read_text() == "{}"

    def test_a_planted_link_in_the_cache_is_not_written_through(self, tmp_path: Path) -> None:
        write(tmp_path / "far", run_json="{}")
        mine = tmp_path / "mine"
        mine.write_text("mine")
        copy = local_copy((tmp_path / "far").as_uri())
        (copy / f".run.json.{os.getpid()}").symlink_to(mine)
        write(tmp_path / "far", run_json="{ }")
        RemoteFolder.at((tmp_path / "far").as_uri()).get(copy)
        assert mine.read_text() == "mine"
        assert (copy / "run.json").read_text() == "{ }"


class Invented:
    """Lists one key below any folder."""

    def __init__(self, key: str) -> None:
        self._key = key

    def get_file_info(self, selector: Any) -> list[Any]:
        info = fs.FileInfo(f"{selector.base_dir}/{self._key}", fs.FileType.File, size=1)
        return [info]


@pytest.mark.parametrize(
    ("uri", "said"),
    [("nope://x/y", "nope://x/y: Unrecognized filesystem type"), ("file:///", "file:/// names no folder: add one")],
)
def test_a_uri_that_leads_nowhere_is_refused(uri: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        RemoteFolder.at(uri)
    assert str(refused.value).startswith(said)


def test_a_folder_is_no_uri() -> None:
    assert [is_uri(place) for place in ("s3://b/x", "file:///x", "runs/x", "/x", "C:x", Path("x"))] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_load_reads_what_a_uri_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is empty"):
        engine_probe.load((tmp_path / "far").as_uri())
