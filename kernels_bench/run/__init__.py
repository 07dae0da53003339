"""Running the tests, on one machine or on the nodes of a Ray cluster."""
