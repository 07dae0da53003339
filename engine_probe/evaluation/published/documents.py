"""The five published documents, row by row: settings, specifications, prices and results that are no figure of a curve.

Figures that a measured curve gives, too, are in `tables/`; each names its document and the section there.
"""

from pathlib import Path
from typing import Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.evaluation.published.reference import Reference, read_reference, shipped
from engine_probe.files.safe_read import read_toml

FOLDER = Path(__file__).parent / "documents"
DOCUMENTS = ("thesis", "l40s_x12", "l40s_stress", "h100_post", "l4_report")
WITHHELD = "withheld"  # in our copy of a document, so that nothing here can be made to fit it

RowKind = Literal["measured", "expected", "claim", "setting", "specification", "price", "quoted"]


class Stated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of a document: a value or words, or a band of values that is open to one side if it is a limit.

    At most one of check, geometry, sweep and recorded says what of ours stands beside it, `needs` why nothing does.
    """

    what: str
    kind: RowKind
    value: bool | float | str | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    doubt: str = ""
    key: str = ""  # by which code asks for it
    check: str = ""  # arithmetic on other figures of the document
    geometry: str = ""  # `model: figure`, computed from the model's configuration
    sweep: str = ""  # `name: key`, the value in the sweep that is shipped
    otherwise: float | str = ""  # the value of that key where the sweep leaves it out
    recorded: str = ""  # name of a measurement
    needs: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.low is None and self.high is None):
            raise ValueError(f"{self.what!r}: give either value, or low and high or one of them")

    @property
    def is_withheld(self) -> bool:
        return self.value == WITHHELD


class DocumentSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    stated: list[Stated] = []


class PublishedDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    source: str
    sections: list[DocumentSection]

    def stated(self, key: str) -> Stated:
        """Return the row with this key."""
        return next(row for section in self.sections for row in section.stated if row.key == key)


def read_document(name: str) -> PublishedDocument:
    """Read a shipped document; refuse a broken one with its place."""
    path = FOLDER / f"{name}.toml"
    try:
        return msgspec.convert(read_toml(path), PublishedDocument)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}") from error


def references_of(name: str) -> list[Reference]:
    """Return the tables of figures that are from this document."""
    return [reference for reference in map(read_reference, shipped()) if reference.document == name]
