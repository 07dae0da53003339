"""Write docs/results/published.md, and measure what needs no GPU.

Usage: `python -m tools.published_results --write docs/results/published.md [--measure]`. The measured figures are kept
beside the page, in published.json.
"""

import argparse
import json
import sys
from pathlib import Path

from tools.published_results.document import page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The published figures, and ours.")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="the page; its figures are beside it")
    parser.add_argument("--measure", action="store_true", help="run the bursts again that need no GPU")
    asked = parser.parse_args(arguments)
    record = asked.write.with_suffix(".json")
    recorded = json.loads(record.read_text()) if record.is_file() else {}
    if asked.measure:
        from tools.published_results.pools import measured

        recorded |= measured(lambda line: print(line, file=sys.stderr, flush=True))
        record.write_text(json.dumps(dict(sorted(recorded.items())), indent=1) + "\n")
    asked.write.write_text("\n".join(page(recorded)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
