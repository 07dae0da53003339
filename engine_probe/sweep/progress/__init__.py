"""Shows a sweep while it runs."""
