"""The marketplace's read models."""

from projections.order_summary import order_summary

__all__ = ["order_summary"]
