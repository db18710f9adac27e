"""A payment provider for development: a process of its own that behaves, and misbehaves, like a real one."""
