"""Charts of what a sweep varies besides the load: lengths."""
