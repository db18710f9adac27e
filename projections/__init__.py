"""The marketplace's read models."""

from projections.customer_statistics import customer_statistics
from projections.order_summary import order_summary
from projections.product_replicas import product_replicas
from projections.saga_progress import saga_progress
from projections.seller_dashboard import seller_dashboard
from projections.stock_levels import stock_levels

READ_MODELS = (
    customer_statistics,
    order_summary,
    product_replicas,
    saga_progress,
    seller_dashboard,
    stock_levels,
)

__all__ = [
    "READ_MODELS",
    "customer_statistics",
    "order_summary",
    "product_replicas",
    "saga_progress",
    "seller_dashboard",
    "stock_levels",
]
