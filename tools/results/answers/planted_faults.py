"""How often planted faults are found among simulated requests, and how often a request without one is accused.

Usage: `python -m tools.results.answers.planted_faults --write docs/results/answers/planted_faults.md`, in the root
of the repository and from an environment with the extra `quality`. On two quiet cores it takes a few minutes;
`--processes` says how many to use.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

from engine_probe.analysis.answers.integrity.margin_noise import STRETCH
from engine_probe.analysis.answers.quality.language import language_detector
from engine_probe.analysis.statistics.student import share_interval
from tests.support.answers.simulated_faults import FAULTS, MEASURED, REQUESTS, TOKENS, WRONG_BLOCK, Count, Rates, rates
from tests.support.answers.simulated_text_faults import LANGUAGES, text_rates
from tools.result_page import options, show
from tools.result_page import table as in_markdown

AIM = 0.95  # of runs with faults in one request of a hundred
MOST_ACCUSED = 0.01  # of requests without a fault
TOGETHER = 10  # seeds that a process counts at a time
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


def counted_rates(seeds: int, processes: int) -> Rates:
    """Count in several processes, and say on the standard error how far they are."""
    parts = [range(first, min(first + TOGETHER, seeds)) for first in range(0, seeds, TOGETHER)]
    found = Rates()
    with ProcessPoolExecutor(processes) as pool:
        for part, counted in zip(parts, pool.map(rates, parts), strict=True):
            found += counted
            print(f"{part.stop} of {seeds} seeds", end="\r", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def document(seeds: int, processes: int) -> Iterator[str]:
    found = counted_rates(seeds, processes)
    texts = text_rates(range(TEXT_SEEDS), language_detector(LANGUAGES))
    yield from ("# Planted faults", "")
    yield f"{FAULTS} of {REQUESTS} requests have a fault. Without any, {accused(found.clean)} are accused, in"
    yield f"{found.clean.runs_accused} of {found.clean.runs} runs (at most {most_runs(found.clean):.2%})."
    yield from ("", *aims({**found.by_kind, **texts}, found.clean), "")
    yield "A request is accused if its own tokens or log-probabilities show what numerics do not explain. A run has a"
    yield "finding if one of its requests with a fault is accused. A finding does not tell which others have a fault."
    yield from ("", "## Against the same prompts at another load (`sweep integrity`)", "", *table(found.by_kind), "")
    yield from why_missed(found.by_kind[WRONG_BLOCK])
    yield from ("", "## In the text alone (verdicts on quality)", "", *table(texts), "", *origin(seeds))


def most_runs(clean: Count) -> float:
    return share_interval(clean.runs_accused, clean.runs)[1]


def aims(counts: Mapping[str, Count], clean: Count) -> Iterator[str]:
    """Yield whether each kind is shown to be found in as many runs as is aimed at, and no clean request accused."""
    if not (said := list(missed(counts))):
        lowest = min(share_interval(count.runs_found, count.runs)[0] for count in counts.values())
        said = [f"**Shown, {AIM:.0%} of the runs:** every kind of fault is found in at least {lowest:.1%} of them."]
    yield from said
    if share_interval(clean.accused, clean.clean)[1] >= MOST_ACCUSED:
        yield f"**Not shown:** fewer than {MOST_ACCUSED:.0%} of the requests without a fault are accused."


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
    yield f"**Why wrong KV blocks are missed:** with {near} of {count.planted} the largest move of a margin, that of"
    yield f"{STRETCH} margins in a row together, and the shift that a changed token needs lie within those of the"
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
    written = "docs/results/answers/planted_faults.md"
    yield f"    python -m tools.results.answers.planted_faults --seeds {seeds} --write {written}"
    yield from ("", f"- Answers are simulated: {REQUESTS} of {TOKENS} tokens in {seeds} pairs of runs for each kind.")
    yield "- Their margins, their noise and the effects of wrong KV blocks are those measured on a real engine:"
    yield from (f"  - {line}" for line in MEASURED["origin"])
    yield f"- Under load {MEASURED['changed']} of {MEASURED['requests']} real answers changed."
    yield f"- Load moved {moved(MEASURED['noise'])}; a wrong block moved {moved(hit)}, before a token changed."
    yield "  The verdict rests on a request's largest move and its moves in a row together."
    alike = sum(each["same_tokens"] >= SAME_TOKENS for each in blocks)
    yield f"- {alike} of the {len(blocks)} wrong blocks hold at least {SAME_TOKENS} of 32 tokens of the right one:"
    yield "  prompts begin with the chat template's system prompt. These are mild faults."
    yield f"- {silent} of the {len(blocks)} real wrong blocks moved no margin and changed no token: nothing shows them."
    yield "- A fault begins anywhere after the second token; close to an answer's end it has few tokens to show in."
    yield "- Texts are the model answers of the shipped questions: 8 words to all of a system prompt stand between two"
    yield "  sentences, or the answer goes on in another language from a random sentence. The detectors were tuned on"
    yield "  these answers, so that answers of other models may be accused more often."
    yield "- A real engine with all six kinds of faults is tested in `tests/vllm/answers/test_planted_faults.py`."


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="pairs of runs of each kind [1000]")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="that count [one for each core]")
    asked = parser.parse_args()
    show(document(asked.seeds, asked.processes), asked.write)


if __name__ == "__main__":
    main()
