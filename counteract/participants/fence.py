"""The `commands` table: one row per command id, so that a command takes effect once, and not at all after its undo.

Each write is held against the saga's record (`sagas`) by its own SQL, in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import to_json

from counteract.errors import CommandFenced, CommandIdReused, Rejected, UnreadableCommand
from counteract.messages import Command, Role
from counteract.mistakes import mistakes
from counteract.observability import count_lost_command
from counteract.participants.answers import Answer
from counteract.participants.request import Request
from counteract.store import PostgresEventStore
from counteract.store.postgres.append import APPEND_PLACEHOLDERS

_COLUMNS = "status, result, activity_type, saga_id, command"
FIND_COMMAND = f"select {_COLUMNS}, undone_since is not null from commands where command_id = %s"  # noqa: S608 - a constant

_LATE = "select late_step(%(command_id)s)"
_BEGIN = "select * from begin_step(%(step)s::jsonb, %(command)s::jsonb)"
# By position, as the store's own placeholders are.
_RECORD = (
    f"select {_COLUMNS}, undone from record_step("  # noqa: S608 - constants
    "%s::jsonb, %s, %s::jsonb, %s::jsonb, %s::jsonb, " + APPEND_PLACEHOLDERS + ")"
)
_FENCE = "select * from fence_step(%(step)s::jsonb, %(command)s::jsonb, %(if_never)s::jsonb)"

_logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """The row of a command."""

    status: str
    """`started`, `done`, `rejected` or `fenced`; `doubtful`, which no row has, where a refusal was not recorded."""
    result: Any
    activity_type: str
    saga_id: str
    command: Any
    undone: bool

    def answer(self, request: Request) -> Any:
        """The recorded result, as JSON. Raises what was recorded instead, and CommandIdReused for another content."""
        self.refuse_another(request)
        if self.undone:
            raise CommandFenced(f"{request.activity} was undone, and its answer counts no more")
        match self.status:
            case "done":
                return self.result
            case "rejected":
                raise Rejected(self.result["reason"], **self.result["data"])
            case "fenced":
                raise CommandFenced(f"{request.activity} was undone before it could take effect, and never will")
        raise CommandIdReused(f"{request.activity} has begun as an external effect, and cannot be recorded as another")

    def refuse_another(self, request: Request) -> None:
        """Raises CommandIdReused. A field that was added since, with a default, is no difference."""
        saga_id = request.dispatch.saga_id
        if (self.activity_type, self.saga_id) != (request.activity, saga_id):
            raise CommandIdReused(
                f"this command id belongs to {self.activity_type} of {self.saga_id}, not to {request.activity} of {saga_id}"
            )
        if request.role is not Role.FORWARD or self.status == "fenced" or self.command is None or request.is_corrected:
            return
        try:
            same = stored_command(type(request.command), self.command) == request.command
        except UnreadableCommand:
            same = False
        if not same:
            raise CommandIdReused(
                f"{self.activity_type} is recorded under this id with another content: the saga's code has changed, or makes "
                "ids or times of its own; nothing was carried out"
            )


class Known(StrEnum):
    """Knowledge of an original, which its undo or settlement finds while it makes sure that no more can happen."""

    CONCLUDED = "concluded"
    """This undo or settlement was recorded before."""
    NEVER = "never"
    """The original took no effect, and never will."""
    UNKNOWN = "unknown"
    """An external effect began: it may have happened, or may be about to."""
    APPLIED = "applied"
    """The original took effect."""


class Fenced(NamedTuple):
    """An original that can take effect no more, and what is known of it."""

    known: Known
    result: Any
    """JSON. APPLIED: the original's result; CONCLUDED and NEVER: the one of this undo or settlement."""
    command: Any
    """The original, as it is recorded; None where it could not be stored."""
    activity_type: str
    lost: bool
    """The saga knows more of the original than the store, which must have lost commits."""
    began: datetime
    """When this undo or settlement did, by the database's clock."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The writes of the protocol, each one statement, each safe to repeat."""

    store: PostgresEventStore

    async def begin(self, request: Request) -> tuple[Found, datetime]:
        """Say that an external effect is about to happen.

        Returns the row that stands, and the time at which the database's server was started.
        """
        *row, server_since = await self._call(_BEGIN, {"step": request.step(), "command": request.content})
        return Found(*row), server_since

    async def comes_late(self, request: Request) -> datetime | None:
        """Leave a mark if an undo has passed since this external effect began. Returns the mark's time, or None."""
        (marked,) = await self._call(_LATE, {"command_id": request.dispatch.command_id})
        return cast("datetime | None", marked)

    async def record(self, request: Request, answer: Answer) -> Found:
        """Record the answer with its events; the row that stands, which may hold an earlier answer or a fence.

        The status "doubtful" says that an external refusal was not recorded, because an earlier attempt may have
        happened. Raises WrongExpectedVersion, having recorded nothing, where another writer was faster, and
        RecordSaysOtherwise.
        """
        step = request.step(answer.began)
        own = (step, answer.status, answer.result, request.content, answer.settled)
        rows = await self.store.append_by(
            lambda appends: (_RECORD, own + appends.literals), answer.changes, metadata=request.dispatch.metadata()
        )
        return Found(*rows[0])

    async def fence(self, request: Request, *, if_never: str) -> Fenced:
        """Let the original of this undo (or settlement) take effect no more, and say what is known of it.

        Where it never took effect, the request is recorded as done with the result `if_never`, JSON. Raises
        RecordSaysOtherwise.
        """
        about = {"step": request.step(), "command": request.content, "if_never": if_never}
        known, *rest = await self._call(_FENCE, about)
        fenced = Fenced(Known(known), *rest)
        original, dispatch = request.command.spec.name, request.dispatch
        if fenced.lost:
            count_lost_command(original)
            _logger.warning(
                "the store has no row of %s of saga %s, which its history knows: commits were lost",
                dispatch.step,
                dispatch.saga_id,
            )
        if fenced.known is not Known.CONCLUDED and fenced.activity_type != original:
            raise CommandIdReused(f"the command to undo is {fenced.activity_type}, not {original}")
        return fenced

    async def _call(self, query: str, parameters: Mapping[str, Any]) -> Any:
        async with self.store.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchone()


def stored_command(kind: type[Command[Any]], stored: Any) -> Command[Any]:
    """The command as it was recorded. Raises UnreadableCommand where its class has changed since."""
    try:
        return kind.model_validate_json(to_json(stored))
    except ValidationError as error:
        fields = ", ".join(sorted({each.place or "command" for each in mistakes(error)}))
        raise UnreadableCommand(
            f"the recorded {kind.__name__} does not fit its class any more ({fields}): resolve the step with retry and a "
            "corrected command"
        ) from None
