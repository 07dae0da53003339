"""The row of a point, from its recording."""
