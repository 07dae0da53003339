"""Statistics that know nothing of engines: samples, repeats, Student's t, rank tests, settled rates, fits."""
