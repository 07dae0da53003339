"""Write docs/sweep_files.md and sweeps/sweep.schema.json from the schema of sweep files: `make docs`."""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from engine_probe.sweep.definition.file_schema import LENGTH, Key, KeyTable, json_schema, tables

ROOT = Path(__file__).parents[2]
PAGE, SCHEMA = ROOT / "docs/sweep_files.md", ROOT / "sweeps/sweep.schema.json"

INTRODUCTION = """# Sweep files

Made from the schema by `make docs`; change the descriptions in the code, not here.

A sweep file (TOML) names an engine, what it is asked, and what varies. `engine_probe sweep --init my.toml` writes a
commented one, `engine_probe sweep my.toml --dry-run` shows its points, `engine_probe sweep my.toml` measures them.

```toml
question = "At how many concurrent requests does throughput saturate?"

[engine]
model = "tiny"

[engine.arguments]
max_model_len = 512

[workload]
input_len = 64
output_len = 32

[axes]
"workload.concurrency" = [1, 4, 16]
```

- An axis is named by the key it varies: `engine.model`, `engine.arguments.<name>`, `workload.<key>` or a key inside it
  (`workload.arrivals.request_rate`), `replicas` or `probe`. Several axes make every combination.
- `--set KEY=VALUE` changes a key for one sweep, `--model` the model; a list in `--set` makes an axis.
- An unknown key is refused with the nearest known one, before an engine starts.
- Editors: a first line `#:schema ./sweep.schema.json` gives completion and checks (Even Better TOML, Taplo); the file
  lies in `sweeps/`, and `engine_probe sweep --json-schema` prints it.
"""


def page() -> str:
    parts = [INTRODUCTION]
    for place, found in groupby(tables(), key=lambda table: table.place):
        parts += section(place, list(found))
    return "\n".join(parts)


def section(place: str, found: list[KeyTable]) -> Iterator[str]:
    yield f"## {heading(place)}\n"
    for table in found:
        if table.kind is not None:
            yield f'### kind = "{table.kind}"\n'
        yield f"{table.text}\n"
        if table.keys:
            yield "| key | type | default | meaning | example |"
            yield "|---|---|---|---|---|"
            yield from map(row, table.keys)
            yield ""


def heading(place: str) -> str:
    named = {
        "": "The file itself",
        LENGTH: "A length",
        "axes[...]": "A range, as a value of `[axes]`",
        "mix[]": "`[[mix]]`",
        "search.arguments[...]": "An argument, as a value of `[search.arguments]`",
    }
    return named.get(place, f"`[{place}]`")


def row(key: Key) -> str:
    default = "required" if key.required else "" if key.default is None else f"`{key.default}`"
    example = "" if key.example is None else f"`{key.name} = {key.example}`"
    return f"| `{key.name}` | {key.kind} | {default} | {key.text} | {example} |"


def schema_text() -> str:
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
