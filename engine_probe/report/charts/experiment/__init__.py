"""Charts of several models, settings or sweeps together."""
