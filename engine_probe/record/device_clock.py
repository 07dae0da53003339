"""Device times corrected for the rate of the device's clock, which `run.json` tells once a recording is closed."""

from typing import Any

import numpy as np
import pyarrow as pa

MOST_DRIFT = 1e-3  # real clocks differ by some 1e-5; beyond this an anchor is not to be trusted


def on_host_clock(rows: pa.Table, clock: dict[str, Any] | None) -> pa.Table:
    """Return one rank's rows with device_start_ns on the host's clock, between the two anchors in proportion."""
    if clock is None or clock["end"] is None or not rows.num_rows:
        return rows
    begin, end = clock["begin"], clock["end"]
    host, device = end["host_ns"] - begin["host_ns"], end["device_ns"] - begin["device_ns"]
    if device <= 0 or abs(host / device - 1) > MOST_DRIFT:
        return rows
    place = rows.schema.get_field_index("device_start_ns")
    starts = rows["device_start_ns"]
    since = starts.fill_null(begin["device_ns"]).to_numpy() - begin["device_ns"]
    moved = begin["host_ns"] + since + np.rint(since * (host / device - 1)).astype(np.int64)
    return rows.set_column(place, rows.schema.field(place), pa.array(moved, mask=starts.is_null().to_numpy()))
