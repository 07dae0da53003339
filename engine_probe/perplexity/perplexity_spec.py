"""The text to score and how it is cut; two figures are comparable only if all of this is the same."""

from typing import Annotated, Literal

import msgspec

from engine_probe.errors import InputError
from engine_probe.files.key_meaning import about

Count = Annotated[int, msgspec.Meta(ge=1)]


class Quality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Perplexity of a local text.

    The text becomes token ids once and is cut into windows of the same length; what is left at the end is not scored.
    Published tables of quantised models use 2,048 tokens without overlap and `lines = "joined"`.
    """

    text: Annotated[str, about("Path of a local text in UTF-8.", "wiki.test.raw")]
    window: Annotated[int, about("Tokens per window.", 2048, ge=2)] = 2048
    overlap: Annotated[
        int, about("Tokens repeated from the previous window as context, not scored again.", 512, ge=0)
    ] = 0
    windows: Annotated[
        Count | None, about("Maximum number of windows to score, from the beginning. Default: all.", 20)
    ] = None
    lines: Annotated[
        Literal["kept", "joined"],
        about("joined puts an empty line between lines, as published WikiText-2 figures do.", "joined"),
    ] = "kept"
    bos: Annotated[
        Literal["tokenizer", "window", "none"],
        about("Beginning token: as the tokenizer adds it to the whole text, before each window, or none.", "window"),
    ] = "tokenizer"
    per: Annotated[
        Literal["token", "word"],
        about(
            "word also gives word perplexity as lm_eval counts it: the documents (pages of WikiText) in rolling "
            "windows, exp of their negative log-likelihood / words.",
            "word",
        ),
    ] = "token"

    @property
    def step(self) -> int:
        """Return how many tokens of the text lie between the beginnings of two windows."""
        return self.window - self.overlap - (self.bos == "window")

    def check(self, where: str) -> None:
        if self.step < 1:
            raise InputError(
                f"{where}overlap is {self.overlap} and window {self.window}: nothing new is left in a window; give a "
                f"smaller overlap"
            )
        own = {
            "overlap": self.overlap,
            "windows": self.windows,
            "lines": self.lines != "kept",
            "bos": self.bos != "tokenizer",
        }
        if self.per == "word" and (given := next((name for name, value in own.items() if value), None)):
            raise InputError(f'{where}{given} is given, and per = "word" cuts the text by itself: leave {given} out')
