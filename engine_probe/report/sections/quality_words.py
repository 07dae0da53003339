"""What the reports of runs and of sweeps say alike about the quality of answers."""

from engine_probe.analysis.answers.quality.load_effect import Rate
from engine_probe.report.document import Cell

TITLE = "Quality of the answers"
NOT_FOUND = (
    "What a reader would have to understand to notice is not found: false statements beside a right answer, reasoning "
    "that argues for a choice without naming it, and instructions given away in other words."
)
HOW = (
    "Right: by each question's key. Wrong language: a third of the letters in sentences that can be told, or an answer "
    "announced in another language. Contradiction: the letter answered and those the text calls right. Leak: seven "
    "words in a row of the system prompt alone. Copy: 60% of an answer from its prompt, or the question again. "
    "Repetitive: a phrase four times in a row, or half of the runs of three words seen before. Context lost: a later "
    "turn's key is missed."
)


def rate_cell(rate: Rate | None) -> Cell | str:
    return "-" if rate is None else Cell(f"{rate.share:.0%}", below=interval(rate))


def interval(rate: Rate) -> str:
    low, high = rate.interval
    return f"{low:.0%} to {high:.0%}"
