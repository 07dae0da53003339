"""What is shipped beside the code: sweeps, suites, question sets and traces."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def shipped_folder() -> Path:
    """Return the folder of the shipped sweeps: in the installed package, or beside it in a checkout."""
    inside = PACKAGE / "sweep" / "shipped"
    return inside if inside.is_dir() else PACKAGE.parent / "sweeps"
