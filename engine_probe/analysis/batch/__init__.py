"""What the batch of a step was made of: its CUDA graph and its padding, its drafts and what was accepted of them."""
