"""How much one workflow task may say: the server takes four megabytes of a worker's answer, and of one that is larger nothing, ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from temporalio import workflow

from counteract.commands import MAX_COMMAND_BYTES
from counteract.messages import Command


def at_once(commands: Sequence[Command[Any]], limit: int) -> int:
    """How many of the commands may be sent in one task, `limit` at the most: together they have MAX_COMMAND_BYTES, or one of them has."""
    if len(commands) < 2:
        return limit
    fitting = max(1, MAX_COMMAND_BYTES // max(len(to_json(each)) for each in commands))
    if fitting >= min(limit, len(commands)):
        return limit
    # The old branch can go once no saga is under way that sent so much at once on a release without it.
    return fitting if workflow.patched("counteract: what is sent at once is bounded by its size") else limit
