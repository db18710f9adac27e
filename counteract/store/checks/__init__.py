"""Examinations of a store: what keeps it from working (`doctor`), and whether all that it holds can
be read (`verify`).
"""
