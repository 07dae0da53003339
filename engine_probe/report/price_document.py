"""The hardware options of a price list as a document, without a recording."""

from dataclasses import replace

from engine_probe.evaluation.money.options import Hardware
from engine_probe.report.document import Document
from engine_probe.report.sections.money.hardware import hardware_section


def price_document(found: Hardware, name: str) -> Document:
    source = found.prices.source or "no source given"
    options = replace(hardware_section(found), title="")  # the document's
    return Document(f"Hardware options in {found.prices.currency}", f"{name}: {source}", options)
