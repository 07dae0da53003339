"""Charts of what answers say."""
