"""Opening what was recorded, whatever it is."""

import os
from pathlib import Path

from engine_probe.recordings import run
from engine_probe.recordings.forward_passes import ForwardPasses, is_trace, load_forward_passes
from engine_probe.recordings.run import Run


def load(path: str | os.PathLike[str]) -> Run | ForwardPasses:
    """Open a run folder, the only run below a folder, a run behind a URI, or a forward-pass trace of NVIDIA Dynamo."""
    return load_forward_passes(Path(path)) if is_trace(Path(path)) else run.load(path)
