"""What text a model is to predict, and how it is cut. Figures compare only where all of this is the same."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from engine_probe.errors import InputError

Count = Annotated[int, msgspec.Meta(ge=1)]


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Perplexity of a local text.

    The whole text becomes token ids once and is cut into windows of the same length; what is left at the end is not
    scored. The published tables of quantised models: 2,048 tokens without overlap, `lines = "joined"`.
    """

    text: str  # path of a file in UTF-8
    window: Annotated[int, msgspec.Meta(ge=2)] = 2048  # tokens the model sees at once
    overlap: Annotated[int, msgspec.Meta(ge=0)] = 0  # of a window with the one before: seen again, scored once
    windows: Count | None = None  # at most so many, from the beginning
    # kept: the file as it is. joined: an empty line between all lines, blank ones emptied, as in published tables.
    lines: Literal["kept", "joined"] = "kept"
    # tokenizer: as it encodes by itself, the whole text at once; window: each begins with one; none: no window does.
    bos: Literal["tokenizer", "window", "none"] = "tokenizer"

    @property
    def step(self) -> int:
        """How many tokens further each window begins in the text."""
        return self.window - self.overlap - (self.bos == "window")

    def check(self, where: str) -> None:
        if self.step < 1:
            raise InputError(
                f"{where}overlap is {self.overlap} and window {self.window}: nothing new is left in a window; give a "
                f"smaller overlap"
            )
