"""The `commands` table: one row per command id, so that a command takes effect once, and not at all after its undo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from pydantic_core import to_json

from counteract.errors import CommandFenced, CommandIdReused, Rejected
from counteract.messages import Command, Dispatch
from counteract.store import PostgresEventStore
from counteract.store.wire import APPEND_PLACEHOLDERS, StreamChange

FIND_COMMAND = "select status, result, activity_type from commands where command_id = %s"

_MIDWAY = "select true from commands where command_id = %s and status = 'fenced' and started_at is not null"
_BEGIN = "select * from begin_command(%s, %s, %s, %s, %s, %s, %s::jsonb)"
_RECORD = (
    "select status, result, activity_type "
    "from record_command(%s, %s, %s::jsonb, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, " + APPEND_PLACEHOLDERS + ")"
)
_FENCE = "select * from fence_command(%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb)"


class Found(NamedTuple):
    """What the table holds of a command."""

    status: str
    result: Any
    activity_type: str

    def answer(self, activity_type: str) -> Any:
        """The recorded result, as JSON. Raises what was recorded instead of one."""
        if self.activity_type != activity_type:
            raise CommandIdReused(f"this command id belongs to {self.activity_type}, not to {activity_type}")
        match self.status:
            case "done":
                return self.result
            case "rejected":
                raise Rejected(self.result["reason"], **self.result["data"])
            case "fenced":
                raise CommandFenced(f"{activity_type} was undone before it could take effect, and never will")
        raise CommandIdReused(f"{activity_type} has begun as an external effect, and cannot be recorded as another")


class Known(StrEnum):
    """What an undo finds out about its original while it makes sure that no more can happen."""

    CONCLUDED = "concluded"
    NEVER = "never"
    UNKNOWN = "unknown"
    APPLIED = "applied"


class Fenced(NamedTuple):
    known: Known
    result: Any
    """APPLIED: the original's result; CONCLUDED and NEVER: this undo's own; as JSON."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The three writes of the protocol, each one statement, each safe to repeat."""

    store: PostgresEventStore

    async def begin(self, activity: str, task_queue: str, command: Command[Any], dispatch: Dispatch) -> Found:
        """Say that an external effect is about to happen; the row that stands."""
        identity = (dispatch.saga_id, dispatch.saga_type, dispatch.step, activity, task_queue)
        return Found(*await self._call(_BEGIN, (dispatch.command_id, *identity, _json(command))))

    async def fenced_midway(self, dispatch: Dispatch) -> bool:
        """Whether an undo has passed since the external effect of this command began."""
        return await self._call(_MIDWAY, (dispatch.command_id,)) is not None

    async def record(
        self,
        activity: str,
        task_queue: str,
        command: Command[Any],
        dispatch: Dispatch,
        *,
        status: str,
        result: str,
        changes: Sequence[StreamChange] = (),
        settled: str | None = None,
    ) -> Found:
        """Record the answer with its events; the row that stands, which may hold an earlier answer or a fence.

        Raises WrongExpectedVersion, having recorded nothing, where another writer was faster.
        """
        identity = (dispatch.saga_id, dispatch.saga_type, dispatch.step, activity, task_queue, dispatch.undoes)
        own = (dispatch.command_id, status, result, *identity, _json(command), settled)
        rows = await self.store.append_by(
            lambda appends: (_RECORD, own + appends.literals), changes, metadata=dispatch.metadata()
        )
        return Found(*rows[0])

    async def fence(
        self, activity: str, task_queue: str, command: Command[Any], dispatch: Dispatch, *, if_never: str
    ) -> Fenced:
        """Let the original of this undo (or settlement) take effect no more, and say what is known of it.

        Where it never took effect, this undo is recorded as done with the result `if_never`.
        """
        ids = (dispatch.undoes, dispatch.command_id)
        identity = (dispatch.saga_id, dispatch.saga_type, dispatch.step, command.spec.name, activity, task_queue)
        known, result = await self._call(_FENCE, (*ids, *identity, _json(command), if_never))
        return Fenced(Known(known), result)

    async def _call(self, query: str, arguments: tuple[Any, ...]) -> Any:
        async with self.store.connection() as connection:
            return await (await connection.execute(query, arguments)).fetchone()


def _json(value: Any) -> str:
    return to_json(value).decode()
