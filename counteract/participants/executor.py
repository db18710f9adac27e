"""Carries out one command, one undo or one settlement: ask the fence, let the handler decide, record at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any
from uuid import uuid5

from pydantic_core import to_json

from counteract.errors import CounteractError, RefusalInDoubt, Rejected, WrongExpectedVersion
from counteract.messages import Command, Dispatch, Outcome, Role
from counteract.participants.answers import WrongResult, facts_of, written_result
from counteract.participants.fence import Fence, Fenced, Found, Known, stored_command
from counteract.participants.handlers import Handler, Happened, NeverHappened, Settle, Undo
from counteract.participants.streams import AlreadyAnswered, Streams
from counteract.store.decide import until_no_conflict
from counteract.store.expect import StreamChange

_NULL = "null"
_NEVER_HAPPENED = '{"happened": false}'


@dataclass(frozen=True, slots=True)
class Participant:
    """One command and its handlers, on one task queue."""

    command: type[Command[Any]]
    handler: Handler
    compensation: Handler | None
    settlement: Handler | None

    @property
    def external(self) -> bool:
        return self.handler.effect == "external"


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs the handlers of one participant behind the fence."""

    participant: Participant
    fence: Fence
    resources: Mapping[Any, Any]

    async def forward(self, command: Command[Any], dispatch: Dispatch, *, limit: float) -> Any:
        """The answer as JSON: the one recorded first for this command id, whoever recorded it. Raises Rejected,
        CommandFenced, RecordSaysOtherwise, CommandIdReused, or whatever the handler raised without an answer. `limit` is in
        seconds."""
        if self.participant.external:
            return await self._forward_outside(command, dispatch, limit)
        found = await self._until_no_conflict(lambda: self._attempt(command, dispatch, None))
        return found.answer(command.spec.name, dispatch, command)

    async def _forward_outside(self, command: Command[Any], dispatch: Dispatch, limit: float) -> Any:
        name = command.spec.name
        begun, server_since = await self.fence.begin(command, dispatch)
        dispatch = dispatch.model_copy(update={"server_since": server_since})
        begun.refuse_another(name, dispatch, command)
        if begun.status != "started":
            await self._undo_late(command, dispatch, Outcome.UNKNOWN, None)
            return begun.answer(name, dispatch, command)
        attempts = count(dispatch.attempt)

        async def attempt() -> Found:
            # Asked anew where another writer was faster, when the effect may be there already: a refusal proves nothing then.
            told = dispatch.model_copy(update={"attempt": next(attempts)})
            return await self._attempt(command, told, limit)

        try:
            found = await self._until_no_conflict(attempt)
        except WrongExpectedVersion:
            raise
        except BaseException:
            # A failure, a time limit or a cancellation says nothing of what happened outside, and nobody looks after it
            # any more if the undo has passed.
            await self._undo_late(command, dispatch, Outcome.UNKNOWN, None)
            raise
        if found.status == "doubtful":
            await self._undo_late(command, dispatch, Outcome.UNKNOWN, None)
            raise RefusalInDoubt(Rejected(found.result["reason"], **found.result["data"]))
        return found.answer(name, dispatch, command)

    async def _attempt(self, command: Command[Any], dispatch: Dispatch, limit: float | None) -> Found:
        """Let the handler decide, and record what it answers. `limit` is for external effects."""
        streams = Streams(self.fence.store, dispatch.command_id, ask=not self.participant.external)
        try:
            async with asyncio.timeout(limit):
                result = await self._call(self.participant.handler, command, streams, dispatch)
        except AlreadyAnswered as earlier:
            return earlier.found
        except Rejected as refusal:
            if _is_undo(dispatch):
                # There is no way back from an undo: recorded, a refusal would be its answer for ever.
                raise
            return await self._record(command, dispatch, "rejected", _json(facts_of(refusal)))
        found = await self._record(command, dispatch, "done", self._dump(result), streams.changes)
        if found.status != "done":
            await self._undo_late(command, dispatch, Outcome.APPLIED, result)
        return found

    async def _record(
        self,
        command: Command[Any],
        dispatch: Dispatch,
        status: str,
        result: str,
        changes: Sequence[StreamChange] = (),
    ) -> Found:
        return await self.fence.record(
            command.spec.name,
            command,
            dispatch,
            Role.FORWARD,
            status=status,
            result=result,
            external=self.participant.external,
            changes=changes,
        )

    async def undo(self, command: Command[Any], dispatch: Dispatch) -> None:
        """Make sure that the original takes no effect any more, and undo what effect it had."""
        activity = _named(command.spec.compensation)
        fenced = await self.fence.fence(
            activity, command, dispatch, Role.UNDO, external=self.participant.external, if_never=_NULL
        )
        if fenced.known not in (Known.APPLIED, Known.UNKNOWN):
            return
        original = _original(command, dispatch, fenced)
        if fenced.known is Known.UNKNOWN:
            await self._compensate(original, dispatch, Outcome.UNKNOWN, None, began=fenced.began)
            return
        recorded = command.spec.result.validate_json(_json(fenced.result))
        await self._compensate(original, dispatch, Outcome.APPLIED, recorded, began=fenced.began)

    async def settle(self, activity: str, command: Command[Any], dispatch: Dispatch) -> Any:
        """Whether a pivot or a retriable happened: `{"happened": bool, "result": …}`. If not, it never will."""
        fenced = await self.fence.fence(
            activity, command, dispatch, Role.SETTLE, external=self.participant.external, if_never=_NEVER_HAPPENED
        )
        if fenced.known is Known.APPLIED:
            return {"happened": True, "result": fenced.result}
        if fenced.known is not Known.UNKNOWN:
            return fenced.result
        original = _original(command, dispatch, fenced)

        async def attempt() -> Found:
            streams = Streams(self.fence.store, dispatch.command_id, ask=True)
            try:
                said = await self._asked(original, streams, dispatch)
            except AlreadyAnswered as earlier:
                return earlier.found
            settled = _NULL if isinstance(said, NeverHappened) else self._dump(_happened(said).result)
            happened = not isinstance(said, NeverHappened)
            answer = f'{{"happened": true, "result": {settled}}}' if happened else _NEVER_HAPPENED
            return await self.fence.record(
                activity,
                original,
                dispatch,
                Role.SETTLE,
                status="done",
                result=answer,
                changes=streams.changes,
                settled=settled if happened else None,
            )

        return (await self._until_no_conflict(attempt)).answer(activity, dispatch)

    async def _asked(self, command: Command[Any], streams: Streams, dispatch: Dispatch) -> Any:
        """What the provider says of an external effect that ended without an answer."""
        if self.participant.settlement is None:
            # Only a retriable can do without: a person has decided to send another in its place.
            return NeverHappened()
        asked = Settle(command, dispatch.original.command_id)
        return await self._call(self.participant.settlement, asked, streams, dispatch)

    async def _undo_late(self, command: Command[Any], dispatch: Dispatch, outcome: Outcome, result: Any) -> None:
        """The effect came after its undo had passed, so that the undo may have met nothing to undo: undo it again.

        A mark stands at its row until that is on record, and recovery works off what is marked.
        """
        if self.participant.compensation is None or not self.participant.external:
            return
        marked = await self.fence.comes_late(dispatch)
        if marked is None:
            return
        # For each mark an undo of its own: every attempt may have had its effect late.
        own = uuid5(dispatch.command_id, f"late undo {marked.isoformat()}")
        undo = dispatch.model_copy(update={"command_id": own, "undoes": dispatch.command_id})
        await self._compensate(command, undo, outcome, result, began=marked)

    async def _compensate(
        self, command: Command[Any], dispatch: Dispatch, outcome: Outcome, result: Any, *, began: datetime
    ) -> None:
        activity = _named(command.spec.compensation)
        undo = Undo(command, dispatch.original.command_id, outcome, result)

        async def attempt() -> Found:
            streams = Streams(self.fence.store, dispatch.command_id, ask=True)
            try:
                await self._call(_named(self.participant.compensation), undo, streams, dispatch)
            except AlreadyAnswered as earlier:
                return earlier.found
            return await self.fence.record(
                activity,
                command,
                dispatch,
                Role.UNDO,
                status="done",
                result=_NULL,
                changes=streams.changes,
                began=began,
            )

        (await self._until_no_conflict(attempt)).answer(activity, dispatch)

    async def _until_no_conflict(self, attempt: Callable[[], Awaitable[Found]]) -> Found:
        # An effect outside takes as long as its provider: nobody else is to wait for that.
        return await until_no_conflict(self.fence.store, attempt, takes_turns=not self.participant.external)

    async def _call(self, handler: Handler, subject: Any, streams: Streams, dispatch: Dispatch) -> Any:
        own = {Streams: streams, Dispatch: dispatch}
        arguments = {name: own.get(kind) or self.resources[kind] for name, kind in handler.wants.items()}
        try:
            return await handler.function(subject, **arguments)
        finally:
            # Again, for the handler may have loaded in a task group, which wraps it, or swallowed it.
            streams.raise_if_answered()

    def _dump(self, result: Any) -> str:
        """The result as JSON. Raises WrongResult, before anything is recorded, for what could not be read again."""
        return written_result(self.participant.command.spec, result, str(self.participant.handler))


def _original(command: Command[Any], dispatch: Dispatch, fenced: Fenced) -> Command[Any]:
    """What is to be undone: the command that was recorded, unless a person has corrected it."""
    if fenced.command is None or (dispatch.standing is not None and dispatch.standing.corrected):
        return command
    return stored_command(type(command), fenced.command)


def _is_undo(dispatch: Dispatch) -> bool:
    """What undoes a child saga is a command like any other, and comes like one."""
    return dispatch.standing is not None and dispatch.standing.role in (Role.UNDO, Role.TURN)


def _happened(said: Any) -> Happened[Any]:
    if not isinstance(said, Happened):
        raise WrongResult(f"a @settles handler returns Happened(result) or NeverHappened(), not {type(said).__name__}")
    return said


def _json(value: Any) -> str:
    return to_json(value).decode()


def _named(value: Any) -> Any:
    """What the start-up checks have made sure of."""
    if value is None:
        raise CounteractError("a handler is missing that the start-up checks should have asked for")
    return value
