"""The monitor: it holds the tables' content for a saga against the rules of the saga protocol."""

from counteract.testing.protocol.monitor import violations
from counteract.testing.protocol.trace import Child, Record, Row, Told, Trace, traces

__all__ = ["Child", "Record", "Row", "Told", "Trace", "traces", "violations"]
