"""What the lengths of prompts and answers change, and what streaming changes."""
