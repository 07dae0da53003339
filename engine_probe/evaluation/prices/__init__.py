"""The shipped price lists, and how one is read."""
