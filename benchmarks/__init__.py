"""Comparisons with other ways to do the same: ratios, taken in one run on one machine. They gate nothing."""
