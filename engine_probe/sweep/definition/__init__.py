"""What a sweep file says: its keys, the points that follow from it, and what is wrong with it."""
