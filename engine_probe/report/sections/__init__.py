"""The topics of a report."""
