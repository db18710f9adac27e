"""What a saga is about to send, held to what its services can store: before anything is armed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import workflow

from counteract.commands import check_storable
from counteract.errors import InvalidCommand
from counteract.messages import Command
from counteract.saga.dispatching import Options

CHECKED = "counteract: commands are checked before they are sent"


def check_sendable(commands: Sequence[Command[Any]], options: Options) -> None:
    """Raises InvalidCommand."""
    try:
        for command in commands:
            options.check(command)
            check_storable(command)
    except InvalidCommand:
        # A saga that sent such a command before there was this check goes on as it did. The old branch can go once no
        # saga is under way that began on a release without it.
        if workflow.patched(CHECKED):
            raise
