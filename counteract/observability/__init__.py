"""What the engine tells of itself, through OpenTelemetry: nothing is kept until the application sets up an SDK."""

from counteract.observability.event_store import Delayed, appending, observe_delay

__all__ = ["Delayed", "appending", "observe_delay"]
