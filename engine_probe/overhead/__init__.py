"""Measurements of what the probe, the telemetry and the driver cost."""
