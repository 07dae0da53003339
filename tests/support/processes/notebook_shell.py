"""An IPython shell in this process, as a notebook has one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def notebook_shell(**names: Any) -> Iterator[Any]:
    """A shell with engine_probe's extension and these names; it keeps no history, and leaves this process as it was."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    try:
        shell.run_line_magic("load_ext", "engine_probe")
        shell.user_ns.update(names)
        yield shell
    finally:
        shell.restore_sys_module_state()
