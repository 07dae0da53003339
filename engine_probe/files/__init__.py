"""Reading and writing files: input is checked, and output is written atomically."""
