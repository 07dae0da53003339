"""The models that run without a hub: geometries with dummy weights, and two embedded models."""
