"""What a suite shows at its end: the report of its document in the terminal, and a page in its folder."""

from pathlib import Path

from engine_probe.commands.options.console import PIPED_WIDTH, output_console
from engine_probe.commands.report import Asked, report_suite
from engine_probe.files.new_file import atomic_write, writing
from engine_probe.report.renderers.html_document import html_page
from engine_probe.report.renderers.terminal import print_document

PAGE = "report.html"


def report(folder: Path) -> None:
    """Print the report of what is measured, and write its page, over that of an earlier run of this suite."""
    made = report_suite(folder, Asked(None, None, Path(), None, None))
    with writing(folder / PAGE):
        atomic_write(folder / PAGE, html_page(made.page()).encode())
    console = output_console(PIPED_WIDTH)
    console.print()
    more = f"engine_probe report {folder} --verbose shows every section in full."
    print_document(made.document, console, more=more)
    console.print(f"\n{folder / PAGE}", soft_wrap=True)
