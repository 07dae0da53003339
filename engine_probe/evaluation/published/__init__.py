"""What was published about other engines, beside what was measured: figures, and claims in words."""
