"""Questions with answer keys, from JSON Lines files: the file, and the prompts made of it."""
