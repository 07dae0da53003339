"""The timing loop, its clocks, and one process per device."""
