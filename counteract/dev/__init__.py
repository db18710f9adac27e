"""Real Temporal and real PostgreSQL as child processes, for development, demos, tests and benchmarks."""

from counteract.dev.errors import PartCrashed, PartFailed
from counteract.dev.postgres import EmbeddedPostgres
from counteract.dev.supervisor import Part, Supervisor
from counteract.dev.temporal import EmbeddedTemporal

__all__ = ["EmbeddedPostgres", "EmbeddedTemporal", "Part", "PartCrashed", "PartFailed", "Supervisor"]
