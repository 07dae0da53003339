"""Where recordings are: folders of this machine, and what pyarrow.fs reaches by a URI."""

from __future__ import annotations

from pathlib import Path

from engine_probe.errors import InputError

LONGEST = 200  # of a name that is said again


def recorded(place: str) -> Path:
    """A folder to read. What is behind a URI is copied into the cache first, and only what changed is copied again."""
    from engine_probe.remote import is_uri, local_copy

    if is_uri(place):
        return local_copy(place)
    try:
        Path(place).stat()
    except FileNotFoundError as error:
        raise InputError(f"there is no {place}: give the folder that a recording or a sweep was written to") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{shortened(place)} cannot be opened: {getattr(error, 'strerror', error)}") from error
    return Path(place)


def shortened(place: str) -> str:
    return place if len(place) <= LONGEST else f"{place[:LONGEST]}..."


class Results:
    """The folder that a sweep writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = str(folder)  # what a person calls it

    def send(self) -> None:
        """A finished point is on its way to where it belongs: it is there already."""

    def close(self) -> None:
        """The last of it too; nothing is left anywhere else."""


class SentResults(Results):
    """The same behind a URI."""

    def __init__(self, uri: str, resume: bool) -> None:
        from engine_probe.remote import RemoteFolder
        from engine_probe.sweep.mirror import Mirror

        self._mirror = Mirror(RemoteFolder.at(uri), resume)
        super().__init__(self._mirror.folder)
        self.told = uri.rstrip("/")

    def send(self) -> None:
        self._mirror.send()

    def close(self) -> None:
        self._mirror.send()
        self._mirror.close()


def open_results(resume: str | None, out: str) -> Results:
    """To go on in, or new and empty."""
    from engine_probe.remote import is_uri

    if is_uri(resume or out):
        return SentResults(resume or out, resume is not None)
    folder = Path(resume or out)
    if resume is None:
        make_folder(folder)
    elif not folder.is_dir():
        raise InputError(f"there is no folder {folder} to go on in: name the folder of a sweep with --resume")
    return Results(folder)


def make_folder(folder: Path) -> None:
    """New or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} already holds something and is never overwritten: name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error
