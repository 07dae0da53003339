"""BurstGPT's traces: a CSV of arrival times and lengths."""

import math
from pathlib import Path

from engine_probe.errors import InputError
from engine_probe.files.safe_read import MOST_DATA_BYTES, read_csv, shown
from engine_probe.workload.traces.recorded import RecordedSession, TraceRequest, whole

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def read_burstgpt(path: Path) -> list[RecordedSession]:
    columns, rows = read_csv(path, MOST_DATA_BYTES)
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}: is it a CSV file in BurstGPT's format?")
    found = []
    time, input_len, output_len = COLUMNS
    for where, row in rows:
        values = {column: parsed(row[column], column, where) for column in COLUMNS}
        lengths = {name: int(n) if (n := values[name]).is_integer() else n for name in (input_len, output_len)}
        tokens = whole(lengths, input_len, where, least=1), whole(lengths, output_len, where)
        found.append(RecordedSession(where, [TraceRequest(where, values[time], *tokens)]))
    return found


def parsed(words: str, column: str, where: str) -> float:
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {column} is {shown(words)}, expected a number")
    return value
