"""Charts of some sweeps only: over lengths, of bursts."""
