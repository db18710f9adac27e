"""One saga of four steps, each of which writes one event, on three engines."""
