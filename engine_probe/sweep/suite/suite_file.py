"""A suite file (TOML): the sections of a document, each with its sweeps, their settings and its published figures."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.config_file import Keys, check_numbers, convert
from engine_probe.files.key_meaning import about
from engine_probe.files.safe_read import read_toml
from engine_probe.files.shipped import shipped_folder
from engine_probe.sweep.execution.folders import safe
from engine_probe.text_format import suggestion

FOLDER = "suites"  # in that of the shipped sweeps


class SuiteSweep(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sweep of a section."""

    sweep: Annotated[str, about("A shipped sweep, or a TOML file beside the suite file.", "concurrency_gpt2_xl")]
    name: Annotated[str, about("Its name within the suite. Default: that of the sweep.")] = ""
    set: Annotated[
        dict[str, Any], about("Keys of the sweep to change, as with --set.", {"workload.output_len": 256})
    ] = {}


class SuiteSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of the document, and of the report."""

    title: Annotated[str, about("The title of the section in the report.", "6.1 Concurrency")]
    sweeps: Annotated[list[str | SuiteSweep], about("The sweeps of the section, by name or with settings.")]
    together: Annotated[
        bool, about("Report the sweeps as one experiment: common charts, and a sentence for each curve.", True)
    ] = False
    reference: Annotated[
        str | None, about("A table of published figures to set beside what is measured.", "thesis_concurrency")
    ] = None
    note: Annotated[str, about("A sentence that the report shows first.")] = ""
    folder: Annotated[str, about("The folder of its sweeps. Default: made of the title.", "concurrency")] = ""

    @property
    def asked(self) -> list[SuiteSweep]:
        return [SuiteSweep(sweep) if isinstance(sweep, str) else sweep for sweep in self.sweeps]


class SuiteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The programme of a document."""

    title: Annotated[str, about("The title of the report.", "Scaling LLM inference")]
    sections: Annotated[list[SuiteSection], about("The sections, in the order of the document.")]
    source: Annotated[str, about("Which document it follows.")] = ""


SECTIONS: dict[str, Keys] = {"": SuiteFile, "sections[...]": SuiteSection, "sections[...].sweeps[...]": SuiteSweep}


def shipped_suites() -> list[str]:
    return sorted(path.stem for path in (shipped_folder() / FOLDER).glob("*.toml"))


def find_suite(name: str) -> Path:
    """Return the file of a suite named by its path or a shipped name."""
    for path in (Path(name), shipped_folder() / FOLDER / f"{name}.toml"):
        if path.is_file():
            return path
    hint = suggestion(name, shipped_suites(), f": the shipped suites are {', '.join(shipped_suites())}")
    raise InputError(f"there is no suite {name!r}{hint}; you may also give the path of a TOML file")


def read_suite(path: Path) -> SuiteFile:
    document = read_toml(path)
    try:
        check_numbers(document)
        suite = convert(document, SuiteFile, SECTIONS)
        check_names(suite)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return suite


def check_names(suite: SuiteFile) -> None:
    """Refuse a suite or a section without sweeps, and two sweeps of one name."""
    if not suite.sections:
        raise InputError("sections is empty: a suite has at least one sweep")
    folders = [section_folder(section) for section in suite.sections]
    if again := next((folder for folder in folders if folders.count(folder) > 1), None):
        raise InputError(f"sections: two of them have the folder {again}: give one of them another with folder")
    seen: dict[str, str] = {}
    for number, section in enumerate(suite.sections):
        if not section.sweeps:
            raise InputError(f"sections[{number}].sweeps is empty: name at least one sweep")
        for at, asked in enumerate(section.asked):
            name, place = name_of(asked), f"sections[{number}].sweeps[{at}]"
            if other := seen.get(name):
                raise InputError(f"{place} and {other} are both called {name}: give one of them another name")
            seen[name] = place


def section_folder(section: SuiteSection) -> str:
    return safe((section.folder or section.title).lower())


def name_of(asked: SuiteSweep) -> str:
    return asked.name or Path(asked.sweep).stem
