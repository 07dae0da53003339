"""What measuring costs: the probe, the telemetry and the driver, each measured by itself."""
