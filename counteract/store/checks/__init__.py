"""Examinations of a store: what keeps it from working, and whether everything that it holds can be read."""
