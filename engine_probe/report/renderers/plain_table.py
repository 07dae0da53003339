"""The style that all tables in a terminal share: those of reports, and those that commands print on their own."""

from rich import box
from rich.table import Table
from rich.text import Text


def plain_table(*titles: str, title: Text | None = None) -> Table:
    """Return an empty table with a line below its head, and none around it."""
    return Table(*titles, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
