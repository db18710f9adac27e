"""The interface of every engine once it is up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Run = Callable[[str], Awaitable[Any]]
"""A function that runs the trip of this name to its end."""
