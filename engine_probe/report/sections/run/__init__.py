"""Topics of a single run."""
