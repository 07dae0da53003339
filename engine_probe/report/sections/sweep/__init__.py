"""Topics of a sweep."""
