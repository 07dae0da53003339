"""Charts as plain data, topic by topic."""
