"""What each worker process is asked: a row per step, its memory, and the weights that it holds."""
