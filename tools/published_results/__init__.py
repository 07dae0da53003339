"""docs/results/published.md: every figure of the five published documents, ours beside it, and every doubt."""
