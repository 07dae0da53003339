"""One module for each medium: terminal, HTML page, notebook, JSON, JUnit, Perfetto."""
