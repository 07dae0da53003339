"""How often planted faults are found among simulated requests, and how often a request without one is accused.

Usage: `python -m tools.planted_faults --write docs/results/planted_faults.md`, in the root of the repository and from
an environment with the extra `quality`.
"""

from collections.abc import Iterator, Mapping, Sequence

from engine_probe.analysis.answers.integrity.margin_noise import STRETCH
from engine_probe.analysis.answers.quality.language import language_detector
from engine_probe.analysis.statistics.share import share_interval
from tests.support.simulated_faults import FAULTS, MEASURED, REQUESTS, TOKENS, WRONG_BLOCK, Count, rates
from tests.support.simulated_text_faults import LANGUAGES, text_rates
from tools.result_page import options, show
from tools.result_page import table as in_markdown

AIM = 0.95  # of runs with faults in one request of a hundred
SAME_TOKENS = 24  # of a block
TEXT_SEEDS = 200  # judging texts is fast
TITLES = ("fault", "found", "95 % interval", "named as such", "runs with a finding", "requests accused without a fault")


def percent(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else "–"


def between(count: int, of: int) -> str:
    low, high = share_interval(count, of)
    return f"{low:.1%} to {high:.1%}"


def row(name: str, count: Count) -> tuple[str, ...]:
    return (
        name,
        f"{count.found} of {count.planted}",
        between(count.found, count.planted),
        percent(count.named, count.planted),
        f"{count.runs_found} of {count.runs} (at least {share_interval(count.runs_found, count.runs)[0]:.1%})",
        accused(count),
    )


def accused(count: Count) -> str:
    return f"{count.accused} of {count.clean} (at most {share_interval(count.accused, count.clean)[1]:.3%})"


def table(counts: Mapping[str, Count]) -> Iterator[str]:
    yield from in_markdown(TITLES, (row(name, count) for name, count in counts.items()))


def document(seeds: int) -> Iterator[str]:
    found, texts = rates(range(seeds)), text_rates(range(TEXT_SEEDS), language_detector(LANGUAGES))
    yield from ("# Planted faults", "")
    yield f"{FAULTS} of {REQUESTS} requests have a fault. In runs without any, {accused(found.clean)} are accused."
    yield from ("", "## Against the same prompts at another load (`sweep integrity`)", "", *table(found.by_kind), "")
    yield from (*missed(found.by_kind), *why_missed(found.by_kind[WRONG_BLOCK]))
    yield from ("", "## In the text alone (verdicts on quality)", "", *table(texts), "", *origin(seeds))


def missed(counts: Mapping[str, Count]) -> Iterator[str]:
    """Yield which kinds are found in fewer runs than is aimed at, or in so few that this is not shown."""
    for name, count in counts.items():
        low, high = share_interval(count.runs_found, count.runs)
        if low < AIM:
            aim = f"**{'Missed' if high < AIM else 'Not shown'}, {AIM:.0%} of the runs:**"
            share = percent(count.runs_found, count.runs)
            yield f"{aim} of those with a {name}, {share} show one ({between(count.runs_found, count.runs)})."


def why_missed(count: Count) -> Iterator[str]:
    """Yield why wrong blocks are missed: how many moved nothing further than numerics moved another request."""
    near, found = count.planted - count.visible, percent(count.visible_found, count.visible)
    yield f"**Why wrong KV blocks are missed:** with {near} of {count.planted} the largest move of a margin, the"
    yield f"largest of {STRETCH} margins in a row, and the shift that a changed token needs lie within those of the"
    yield "requests without a fault in the same run, so that no limit on these figures finds them without accusing such"
    yield f"a request. Of the {count.visible} others {found} are found; {count.runs_visible} of {count.runs} runs have"
    yield "one."


def moved(requests: Sequence[Sequence[float]]) -> str:
    """Say how many margins moved, and how far at most."""
    moves = [abs(move) for request in requests for move in request]
    return f"{percent(sum(move > 0 for move in moves), len(moves))} of margins, by {max(moves):g} at most"


def origin(seeds: int) -> Iterator[str]:
    """Yield where the figures come from."""
    blocks = MEASURED["wrong_blocks"]
    hit = [each["moves"] for each in blocks]
    silent = sum(not any(each["moves"]) and each["needed_shift"] is None for each in blocks)
    yield from ("## Where this comes from", "")
    yield f"    python -m tools.planted_faults --seeds {seeds} --write docs/results/planted_faults.md"
    yield from ("", f"- Answers are simulated: {REQUESTS} of {TOKENS} tokens in {seeds} pairs of runs for each kind.")
    yield "- Their margins, their noise and the effects of wrong KV blocks are those measured on a real engine:"
    yield from (f"  - {line}" for line in MEASURED["origin"])
    yield f"- Under load {MEASURED['changed']} of {MEASURED['requests']} real answers changed."
    yield f"- Load moved {moved(MEASURED['noise'])}; a wrong block moved {moved(hit)}, before a token changed."
    yield "  The verdict rests on a request's largest move and its largest moves in a row."
    alike = sum(each["same_tokens"] >= SAME_TOKENS for each in blocks)
    yield f"- {alike} of the {len(blocks)} wrong blocks hold at least {SAME_TOKENS} of 32 tokens of the right one:"
    yield "  prompts begin with the chat template's system prompt. These are mild faults."
    yield f"- {silent} of the {len(blocks)} real wrong blocks moved no margin and changed no token: nothing shows them."
    yield "- A fault begins anywhere after the second token; close to an answer's end it has few tokens to show in."
    yield "- Texts are the model answers of the shipped questions: 8 words to all of a system prompt stand between two"
    yield "  sentences, or the answer goes on in another language from a random sentence. The detectors were tuned on"
    yield "  these answers, so that answers of other models may be accused more often."
    yield "- A real engine with all six kinds of faults is tested in `tests/vllm/test_planted_faults.py`."


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=80, help="pairs of runs of each kind [80]")
    asked = parser.parse_args()
    show(document(asked.seeds), asked.write)


if __name__ == "__main__":
    main()
