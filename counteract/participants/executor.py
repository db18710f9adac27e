"""Carries out one command, one undo or one settlement: ask the fence, let the handler decide, record at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid5

from pydantic_core import to_json

from counteract.errors import CounteractError, RefusalInDoubt, Rejected, WrongExpectedVersion
from counteract.messages import Command, Dispatch, Outcome, Role
from counteract.participants.answers import Answer, WrongResult, facts_of, written_result
from counteract.participants.fence import Fence, Fenced, Found, Known, stored_command
from counteract.participants.handlers import Handler, Happened, NeverHappened, Settle, Undo
from counteract.participants.request import Request
from counteract.participants.streams import AlreadyAnswered, Streams
from counteract.store.decide import until_no_conflict

_NULL = "null"
_NEVER_HAPPENED = '{"happened": false}'

_Asking = Callable[[Request, Streams], Awaitable[Answer]]
"""Asks a handler, and makes an answer of what it says."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One command and its handlers, on one task queue."""

    command: type[Command[Any]]
    handler: Handler
    compensation: Handler | None
    settlement: Handler | None

    @property
    def external(self) -> bool:
        """Whether the command has its effect outside."""
        return self.handler.effect == "external"


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs the handlers of one participant behind the fence."""

    participant: Participant
    fence: Fence
    resources: Mapping[Any, Any]

    async def forward(self, command: Command[Any], dispatch: Dispatch, *, limit: float) -> Any:
        """The answer as JSON: the one recorded first for this command id, whoever recorded it.

        `limit` is how long an external handler may take, in seconds. Raises Rejected, CommandFenced,
        RecordSaysOtherwise, CommandIdReused, or whatever the handler raised without an answer.
        """
        request = self._request(command.spec.name, command, dispatch, Role.FORWARD)
        if self.participant.external:
            return await self._forward_outside(request, limit)
        return await self._answered(request, partial(self._carry_out, limit=None))

    async def undo(self, command: Command[Any], dispatch: Dispatch) -> None:
        """Make sure that the original takes no effect any more, and undo what effect it had."""
        request = self._request(_named(command.spec.compensation), command, dispatch, Role.UNDO)
        fenced = await self.fence.fence(request, if_never=_NULL)
        if fenced.known not in (Known.APPLIED, Known.UNKNOWN):
            return
        original = _original(request, fenced)
        if fenced.known is Known.UNKNOWN:
            await self._compensate(original, Outcome.UNKNOWN, None, began=fenced.began)
            return
        recorded = command.spec.result.validate_json(_json(fenced.result))
        await self._compensate(original, Outcome.APPLIED, recorded, began=fenced.began)

    async def settle(self, activity: str, command: Command[Any], dispatch: Dispatch) -> Any:
        """Whether a pivot or a retriable happened: `{"happened": bool, "result": …}`. If not, it never will."""
        request = self._request(activity, command, dispatch, Role.SETTLE)
        fenced = await self.fence.fence(request, if_never=_NEVER_HAPPENED)
        if fenced.known is Known.APPLIED:
            return {"happened": True, "result": fenced.result}
        if fenced.known is not Known.UNKNOWN:
            return fenced.result
        return await self._answered(_original(request, fenced), self._find_out)

    async def _forward_outside(self, request: Request, limit: float) -> Any:
        begun, server_since = await self.fence.begin(request)
        request = request.told(server_since=server_since)
        begun.refuse_another(request)
        if begun.status != "started":
            await self._undo_late(request, Outcome.UNKNOWN, None)
            return begun.answer(request)
        attempts = count(request.dispatch.attempt)

        async def attempt() -> Found:
            # Asked anew where another writer was faster: the effect may be there by then, and a refusal proves nothing.
            told = request.told(attempt=next(attempts))
            return await self._attempt(told, partial(self._carry_out, limit=limit))

        try:
            found = await self._until_no_conflict(attempt)
        except WrongExpectedVersion:
            raise
        except BaseException:
            # A failure, a time limit or a cancellation says nothing of what happened outside, and nobody looks after it
            # any more if the undo has passed.
            await self._undo_late(request, Outcome.UNKNOWN, None)
            raise
        if found.status == "doubtful":
            await self._undo_late(request, Outcome.UNKNOWN, None)
            raise RefusalInDoubt(Rejected(found.result["reason"], **found.result["data"]))
        return found.answer(request)

    async def _undo_late(self, request: Request, outcome: Outcome, result: Any) -> None:
        """The effect came after its undo had passed, so that the undo may have met nothing to undo: undo it again.

        A mark stands at its row until that is on record, and recovery works off what is marked.
        """
        if self.participant.compensation is None or not self.participant.external:
            return
        marked = await self.fence.comes_late(request)
        if marked is None:
            return
        command, original = request.command, request.dispatch.command_id
        # For each mark an undo of its own: every attempt may have had its effect late.
        own = uuid5(original, f"late undo {marked.isoformat()}")
        dispatch = request.dispatch.model_copy(update={"command_id": own, "undoes": original})
        undo = self._request(_named(command.spec.compensation), command, dispatch, Role.UNDO)
        await self._compensate(undo, outcome, result, began=marked)

    async def _compensate(self, request: Request, outcome: Outcome, result: Any, *, began: datetime) -> None:
        undo = Undo(request.command, request.dispatch.original.command_id, outcome, result)

        async def compensated(request: Request, streams: Streams) -> Answer:
            await self._call(_named(self.participant.compensation), undo, streams, request.dispatch)
            return Answer("done", _NULL, changes=streams.changes, began=began)

        await self._answered(request, compensated)

    async def _carry_out(self, request: Request, streams: Streams, *, limit: float | None) -> Answer:
        try:
            async with asyncio.timeout(limit):
                result = await self._call(self.participant.handler, request.command, streams, request.dispatch)
        except Rejected as refusal:
            if request.kind_of_undo is not None:
                # There is no way back from an undo: recorded, a refusal would be its answer for ever.
                raise
            return Answer("rejected", _json(facts_of(refusal)))
        return Answer("done", self._dump(result), changes=streams.changes, returned=result)

    async def _find_out(self, request: Request, streams: Streams) -> Answer:
        said = await self._asked(request, streams)
        if isinstance(said, NeverHappened):
            return Answer("done", _NEVER_HAPPENED, changes=streams.changes)
        settled = self._dump(_happened(said).result)
        answer = f'{{"happened": true, "result": {settled}}}'
        return Answer("done", answer, changes=streams.changes, settled=settled)

    async def _asked(self, request: Request, streams: Streams) -> Any:
        """The provider's word on an external effect that ended without an answer."""
        if self.participant.settlement is None:
            # Only a retriable can do without: a person has decided to send another in its place.
            return NeverHappened()
        asked = Settle(request.command, request.dispatch.original.command_id)
        return await self._call(self.participant.settlement, asked, streams, request.dispatch)

    async def _answered(self, request: Request, asking: _Asking) -> Any:
        """The answer that stands, once no other writer is faster."""
        return (await self._until_no_conflict(lambda: self._attempt(request, asking))).answer(request)

    async def _attempt(self, request: Request, asking: _Asking) -> Found:
        """Ask the handler, and record its answer with its events: the row that stands."""
        is_forward = request.role is Role.FORWARD
        streams = Streams(self.fence.store, request.dispatch.command_id, ask=not (is_forward and request.external))
        try:
            answer = await asking(request, streams)
        except AlreadyAnswered as earlier:
            return earlier.found
        found = await self.fence.record(request, answer)
        if is_forward and answer.status == "done" and found.status != "done":
            await self._undo_late(request, Outcome.APPLIED, answer.returned)
        return found

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

    def _request(self, activity: str, command: Command[Any], dispatch: Dispatch, role: Role) -> Request:
        return Request(activity, command, dispatch, role, external=self.participant.external)


def _original(request: Request, fenced: Fenced) -> Request:
    """The request with the original as it was recorded, unless a person has corrected it."""
    if fenced.command is None or request.is_corrected:
        return request
    return replace(request, command=stored_command(type(request.command), fenced.command))


def _happened(said: Any) -> Happened[Any]:
    if not isinstance(said, Happened):
        raise WrongResult(f"a @settles handler returns Happened(result) or NeverHappened(), not {type(said).__name__}")
    return said


def _json(value: Any) -> str:
    return to_json(value).decode()


def _named(value: Any) -> Any:
    """The value, which the start-up checks have made sure of."""
    if value is None:
        raise CounteractError("a handler is missing that the start-up checks should have asked for")
    return value
