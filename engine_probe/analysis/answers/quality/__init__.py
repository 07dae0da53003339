"""Verdicts on the text of an answer: is it right, in the language asked for, and free of the faults of a failing model?

Each detector returns True, False, or None with the reason why it did not judge. They see text alone: a fault that a
reader would have to understand the subject to notice is not found.
"""
