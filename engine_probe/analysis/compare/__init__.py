"""Two measurements held against each other."""
