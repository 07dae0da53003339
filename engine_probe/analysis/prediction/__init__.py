"""Predicting times that were not measured, from recordings that were, with how wrong that may be."""
