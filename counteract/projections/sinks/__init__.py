"""Projections whose rows are outside of PostgreSQL.

    order_summary = Projection(
        "order-summary",
        Column("order_id", Text, primary_key=True),
        Column("total", BigInteger, nullable=False, default=0),
        sink=RedisHashes("redis://localhost", prefix="order-summary:"),
    )

Handlers, runner and commands are those of any projection. Its operations are delivered at least once and count once: a
sink knows which events its rows show. A server that is down is waited for.
"""

from counteract.projections.sinks.layout import Layout
from counteract.projections.sinks.opensearch import OpenSearchIndex
from counteract.projections.sinks.redis import RedisHashes
from counteract.projections.sinks.sink import Positioned, RowRefused, Shown, Sink, SinkUnavailable

__all__ = ["Layout", "OpenSearchIndex", "Positioned", "RedisHashes", "RowRefused", "Shown", "Sink", "SinkUnavailable"]
