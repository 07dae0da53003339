"""The figures of single steps: what limits each, how long it took, and how near the ceilings it came."""
