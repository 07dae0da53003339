"""What the engine is asked: prompts, and when they arrive."""
