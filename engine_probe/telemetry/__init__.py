"""What the devices and the host said about themselves while the engine ran, on the recorder's clock."""
