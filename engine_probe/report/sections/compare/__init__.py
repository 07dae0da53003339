"""Topics of a comparison: its verdict, the bounds it was held to, its changes and every point."""
