"""The report on a terminal, as JSON and as an HTML page."""
