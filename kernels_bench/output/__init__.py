"""The report on a terminal, as JSON, and as a page."""
