"""Write docs/price_lists.md from the schema of price lists: `make docs`."""

from pathlib import Path

from engine_probe.analysis.money.prices import SECTIONS
from engine_probe.sweep.definition.file_schema import table_of
from tools.reference_pages.sweep_reference import row

PAGE = Path(__file__).parents[2] / "docs/price_lists.md"

INTRODUCTION = """# Price lists

Made from the schema by `make docs`; change the descriptions in the code, not here.

A price list (TOML) says what an engine costs, what is paid for its tokens, and what else could be rented.
`engine_probe prices --init my_prices.toml` writes a commented one. `engine_probe report FOLDER --money my_prices.toml`
computes cost, revenue and profit of a run or a sweep, with break-even, the load of the highest profit and the lowest
price that any load can hold; `engine_probe prices my_prices.toml --requests-per-minute 25 --latency 8` compares the
hardware options for a demand.

    profit  = revenue - cost
    revenue = price of a token x tokens of answered requests, prompts and answers each
    cost    = fixed + variable + energy + bursts, per hour
    energy  = (power of the GPUs + power of the host) x power.overhead x power.per_kwh

- The power of the GPUs is measured; that of the host's CPUs and memory is (RAPL) where the kernel lets it be read, and
  `power.host_watts` takes its place.
- A figure that is not known is left out, and the report says so: energy without telemetry, costs per GPU of a recording
  that does not tell their number, a burst above a load in another unit.
- Intervals follow from how the throughput varies over repeats; what costs the same whatever is served has no noise.
- Shipped as examples, with published figures: `l4_or_l40s`, `l40s_or_h200` (`engine_probe prices --list`).
- `--goodput cost_per_1000_tokens:0.002` bounds the cost as an SLO, `joules_per_token:0.5` the energy of the GPUs.
"""


def page() -> str:
    parts = [INTRODUCTION]
    for place, cls in SECTIONS.items():
        table = table_of(place, cls)
        title = "The list itself" if not place else f"`[[{place[:-2]}]]`" if place.endswith("[]") else f"`[{place}]`"
        keys = [key for key in table.keys if not key.table and (key.kind != "list" or place)]
        head = ("| key | type | default | meaning | example |", "|---|---|---|---|---|")
        parts += [f"## {title}\n", f"{table.text}\n", *head, *map(row, keys), ""]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
