"""The sweep file, its points, and running them."""
