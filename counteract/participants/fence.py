"""The `commands` table: one row per command id, so that a command takes effect once, and not at all after its undo.

Each write is held against the saga's record (`sagas`) by its own SQL, in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from counteract.errors import CommandFenced, CommandIdReused, Rejected, UnreadableCommand
from counteract.messages import Command, Dispatch, Role, Standing
from counteract.mistakes import mistakes
from counteract.observability import count_lost_command
from counteract.store import PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_PLACEHOLDERS

_COLUMNS = "status, result, activity_type, saga_id, command"
FIND_COMMAND = f"select {_COLUMNS}, undone_since is not null from commands where command_id = %s"  # noqa: S608 - a constant

_LATE = "select late_step(%s)"
_BEGIN = "select * from begin_step(%s::jsonb, %s::jsonb)"
_RECORD = (
    f"select {_COLUMNS}, undone from record_step("  # noqa: S608 - constants
    "%s::jsonb, %s, %s::jsonb, %s::jsonb, %s::jsonb, " + APPEND_PLACEHOLDERS + ")"
)
_FENCE = "select * from fence_step(%s::jsonb, %s::jsonb, %s::jsonb)"

_logger = logging.getLogger(__name__)


class Found(NamedTuple):
    """What the table holds of a command."""

    status: str
    result: Any
    activity_type: str
    saga_id: str
    command: Any
    undone: bool

    def answer(self, activity_type: str, dispatch: Dispatch, command: Command[Any] | None = None) -> Any:
        """The recorded result, as JSON. Raises what was recorded instead of one, and CommandIdReused for another content."""
        self.refuse_another(activity_type, dispatch, command)
        if self.undone:
            raise CommandFenced(f"{activity_type} was undone, and its answer counts no more")
        match self.status:
            case "done":
                return self.result
            case "rejected":
                raise Rejected(self.result["reason"], **self.result["data"])
            case "fenced":
                raise CommandFenced(f"{activity_type} was undone before it could take effect, and never will")
        raise CommandIdReused(f"{activity_type} has begun as an external effect, and cannot be recorded as another")

    def refuse_another(self, activity_type: str, dispatch: Dispatch, command: Command[Any] | None) -> None:
        """Raises CommandIdReused. A field that was added since, with a default, is no difference."""
        if (self.activity_type, self.saga_id) != (activity_type, dispatch.saga_id):
            raise CommandIdReused(
                f"this command id belongs to {self.activity_type} of {self.saga_id}, not to {activity_type} of {dispatch.saga_id}"
            )
        corrected = dispatch.standing is not None and dispatch.standing.corrected
        if command is None or self.status == "fenced" or self.command is None or corrected:
            return
        try:
            same = stored_command(type(command), self.command) == command
        except UnreadableCommand:
            same = False
        if not same:
            raise CommandIdReused(
                f"{self.activity_type} is recorded under this id with another content: the saga's code has changed, or makes "
                "ids or times of its own; nothing was carried out"
            )


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
    command: Any
    """The original, as it is recorded; None where it could not be stored."""
    activity_type: str
    lost: bool
    """The saga knows more of the original than the store, which must have lost commits."""
    began: datetime
    """By the database's clock."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The writes of the protocol, each one statement, each safe to repeat."""

    store: PostgresEventStore

    async def begin(self, command: Command[Any], dispatch: Dispatch) -> tuple[Found, datetime]:
        """Say that an external effect is about to happen; the row that stands, and since when its server runs."""
        step = step_of(command.spec.name, command, dispatch, Role.FORWARD, external=True)
        *row, server_since = await self._call(_BEGIN, (step, _json(command)))
        return Found(*row), server_since

    async def comes_late(self, dispatch: Dispatch) -> datetime | None:
        """Whether an undo has passed since the external effect of this command began. Leaves a mark if so, of that time."""
        (marked,) = await self._call(_LATE, (dispatch.command_id,))
        return cast("datetime | None", marked)

    async def record(
        self,
        activity: str,
        command: Command[Any],
        dispatch: Dispatch,
        role: Role,
        *,
        status: str,
        result: str,
        external: bool = False,
        changes: Sequence[StreamChange] = (),
        settled: str | None = None,
        began: datetime | None = None,
    ) -> Found:
        """Record the answer with its events; the row that stands, which may hold an earlier answer or a fence.

        The status "doubtful" says that an external refusal was not recorded, because an earlier attempt may have happened.
        `began` is when an undo did: it answers for what came late by then. Raises WrongExpectedVersion, having recorded nothing, where another writer was faster, and RecordSaysOtherwise.
        """
        step = step_of(activity, command, dispatch, role, external=external, began=began)
        content = _json(command) if role is Role.FORWARD else _json_or_nothing(command)
        own = (step, status, result, content, settled)
        rows = await self.store.append_by(
            lambda appends: (_RECORD, own + appends.literals), changes, metadata=dispatch.metadata()
        )
        return Found(*rows[0])

    async def fence(
        self, activity: str, command: Command[Any], dispatch: Dispatch, role: Role, *, external: bool, if_never: str
    ) -> Fenced:
        """Let the original of this undo (or settlement) take effect no more, and say what is known of it.

        Where it never took effect, this undo is recorded as done with the result `if_never`. Raises RecordSaysOtherwise.
        """
        step = step_of(activity, command, dispatch, role, external=external)
        known, *rest = await self._call(_FENCE, (step, _json_or_nothing(command), if_never))
        fenced = Fenced(Known(known), *rest)
        if fenced.lost:
            count_lost_command(command.spec.name)
            _logger.warning(
                "the store has no row of %s of saga %s, which its history knows: commits were lost",
                dispatch.step,
                dispatch.saga_id,
            )
        if fenced.known is not Known.CONCLUDED and fenced.activity_type != command.spec.name:
            raise CommandIdReused(f"the command to undo is {fenced.activity_type}, not {command.spec.name}")
        return fenced

    async def _call(self, query: str, arguments: tuple[Any, ...]) -> Any:
        async with self.store.connection() as connection:
            return await (await connection.execute(query, arguments)).fetchone()


def step_of(
    activity: str,
    command: Command[Any],
    dispatch: Dispatch,
    role: Role,
    *,
    external: bool,
    began: datetime | None = None,
) -> str:
    """What the SQL functions are told of a step, as one JSON object."""
    standing = dispatch.standing
    about: dict[str, Any] = {
        "command_id": dispatch.command_id,
        "saga_id": dispatch.saga_id,
        "run_id": dispatch.causation_id,
        "saga_type": dispatch.saga_type,
        "step": dispatch.step,
        "kind": command.kind,
        "activity_type": activity,
        "original_type": command.spec.name,
        "task_queue": command.spec.service,
        "undoes": dispatch.undoes,
        "role": _role(role, standing),
        "attempt": dispatch.attempt,
        "external": external,
        "server_since": dispatch.server_since,
        "began": began,
    }
    if standing is not None:
        about |= {"namespace": standing.namespace, "epoch": standing.epoch, "who": standing.who}
        about |= {"sent": standing.sent, "answered": standing.answered}
        if command.kind == "pivot":
            about |= {"done": standing.done, "keys": standing.keys}
            about |= {"children": standing.children, "skipped": standing.skipped}
            about |= {"child_keys": standing.child_keys, "child_ids": standing.child_ids}
    return to_json(about).decode()


def _role(role: Role, standing: Standing | None) -> Role:
    """As the executor has it, but where the saga says more: which undo it is; and the undo of a child is a command."""
    told = standing is not None and standing.role in (Role.UNDO, Role.TURN)
    return standing.role if standing is not None and told and role is not Role.SETTLE else role


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


def _json(value: Any) -> str:
    return to_json(value).decode()


def _json_or_nothing(command: Command[Any]) -> str | None:
    """None for what PostgreSQL cannot store: an undo must not depend on it."""
    try:
        text = _json(command)
    except PydanticSerializationError:
        return None
    return None if "\\u0000" in text.replace("\\\\", "") else text
