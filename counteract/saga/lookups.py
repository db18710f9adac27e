"""Questions about a saga to the store, asked in the midst of the saga's workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio import workflow
from temporalio.common import RetryPolicy

from counteract.commands import MAX_COMMAND_BYTES, of_content
from counteract.errors import UnreadableCommand
from counteract.lifecycle import FETCH_COMMAND, FETCH_STATE, FIND_STEPS, TAKE_UP_SAGA, Opened, Opening, RecordedStep
from counteract.messages import Command
from counteract.saga.dispatcher import Dispatcher
from counteract.saga.tasks import in_a_task_of_its_own

PAGE = 500
"""Steps that one look at the store brings."""
_LOOK: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=100),
        maximum_interval=timedelta(seconds=10),
        non_retryable_error_types=["UnreadableCommand"],
    ),
}


@dataclass(slots=True)
class Lookups:
    """Asks the store, by local activities.

    So each answer is in the history, and a store that is down is waited for.
    """

    dispatcher: Dispatcher
    _read: int = 0
    """Bytes of commands, in this workflow task."""

    async def state(self, when: str) -> str | None:
        """The state of the saga's record; None where there is none. `when` tells the looks apart."""
        state: str | None = await workflow.execute_local_activity(
            FETCH_STATE,
            args=[self.dispatcher.saga_id, self.dispatcher.run_id],
            activity_id=f"state {when}",
            result_type=str,
            **_LOOK,
        )
        return state

    async def take_up(self, opening: Opening, when: str) -> Opened:
        """The record as this run takes it up, which has an epoch of its own from then on."""
        opened: Opened = await workflow.execute_local_activity(
            TAKE_UP_SAGA,
            args=[self.dispatcher.saga_id, opening],
            activity_id=f"take up {when}",
            result_type=Opened,
            **_LOOK,
        )
        return opened

    async def steps(self) -> list[RecordedStep]:
        """All commands of the workflow id that the store has rows of."""
        found: list[RecordedStep] = []
        while len(found) % PAGE == 0:
            page: list[RecordedStep] = await workflow.execute_local_activity(
                FIND_STEPS,
                args=[self.dispatcher.saga_id, self.dispatcher.run_id, len(found), PAGE],
                result_type=list[RecordedStep],
                **_LOOK,
            )
            found += page
            if not page:
                break
        return found

    async def command(self, key: str, command_id: UUID, kind: type[Command[Any]]) -> Command[Any]:
        """The command as it is on record. Raises UnreadableCommand where it does not fit its class any more."""
        stored: dict[str, Any] = await workflow.execute_local_activity(
            FETCH_COMMAND, command_id, result_type=dict[str, Any], **_LOOK
        )
        await self._pause_after(len(to_json(stored)))
        try:
            return of_content(kind, stored)
        except ValidationError:
            raise UnreadableCommand(f"{key} cannot be undone: it does not fit {kind.__name__} any more") from None

    async def _pause_after(self, size: int) -> None:
        """Have what follows read in another workflow task, once this one tells as much as the server may take of it."""
        self._read += size
        # The old branch can go once no saga is under way that read so much back on a release without it.
        if self._read > MAX_COMMAND_BYTES // 2 and workflow.patched(
            "counteract: what is read back is told piece by piece"
        ):
            self._read = 0
            await in_a_task_of_its_own()
