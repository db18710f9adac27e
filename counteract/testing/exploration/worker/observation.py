"""Observes handlers: what they were given, what they appended, and how they ended."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from temporalio import activity

from counteract.decider import Decider
from counteract.lifecycle import RECORD_LIFECYCLE, Ended, LifecycleRecord, Opened, SagaCompleted
from counteract.messages import Event
from counteract.participants import Lifecycle
from counteract.participants.executor import Participant
from counteract.participants.handlers import Handler, Role
from counteract.participants.streams import Stream, Streams
from counteract.testing.exploration.attempt import CURRENT
from counteract.testing.exploration.catalogue.interruptions import cancel_at_the_end
from counteract.testing.exploration.faults import Layer
from counteract.testing.exploration.run import Run
from counteract.testing.exploration.worker.witness import Appended, Witnessed


def watched(participant: Participant) -> Participant:
    """The same handlers, with faults around them and their ends on record."""
    return dataclasses.replace(
        participant,
        handler=_watched(participant.handler),
        compensation=participant.compensation and _watched(participant.compensation),
        settlement=participant.settlement and _watched(participant.settlement),
    )


def _watched(handler: Handler) -> Handler:
    @functools.wraps(handler.function)
    async def function(subject: Any, **arguments: Any) -> Any:
        attempt = CURRENT.get()
        watch = _Watch(attempt.dispatch.command_id)
        given = {name: watch.over(each) for name, each in arguments.items()}

        async def proceed() -> Any:
            if handler.role is not Role.HANDLES or handler.effect == "external":
                attempt.decided += 1
            result = await handler.function(subject, **given)
            if CURRENT.get().unnoticed:
                return result
            dispatch = attempt.dispatch
            original = dispatch.undoes or dispatch.command_id
            told = Witnessed(handler.role, original, watch.own, subject, result, tuple(watch.appended))
            attempt.run.witnessed(told)
            return result

        if handler.role is not attempt.place.role:
            # A late original that compensates itself works on the original's attempt, under the undo's handler.
            return await proceed()
        return await attempt.through(Layer.HANDLER, proceed)

    return dataclasses.replace(handler, function=function)


@dataclass(frozen=True)
class WatchedLifecycle(Lifecycle):
    """The engine's own lifecycle records, with a fault around the record of the end."""

    runs: Mapping[str, Run]

    @activity.defn(name=RECORD_LIFECYCLE)
    async def record(self, record: LifecycleRecord) -> Opened | Ended | int | None:
        answer = await super().record(record)
        run = self.runs.get(record.saga_id)
        if run and run.fault.cancelled_at_end and record.event_type == SagaCompleted.event_type:
            await cancel_at_the_end(run)
        return answer


@dataclass(slots=True)
class _Watch:
    """The observation of one call of one handler."""

    own: UUID
    """The command id under which the call is recorded."""
    appended: list[Appended] = field(default_factory=list)

    def over(self, argument: Any) -> Any:
        """The same argument; streams are wrapped, so that loads and appends are noted."""
        if not isinstance(argument, Streams):
            return argument
        self.own = argument._command_id
        return _WatchedStreams(argument, self)


class _Proxy:
    """A stand-in that passes for the object it stands for."""

    def __init__(self, inner: Any, watch: _Watch) -> None:
        self.__dict__.update(_inner=inner, _watch=watch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)

    @property
    def __class__(self) -> Any:
        return type(self._inner)

    @__class__.setter
    def __class__(self, _: Any) -> None:
        raise TypeError("a stream stays what it is")


class _WatchedStreams(_Proxy):
    async def load(self, decider: Decider[Any, Any], aggregate_id: str) -> Any:
        stream = await self._inner.load(decider, aggregate_id)
        attempt = CURRENT.get()
        attempt.decided += 1
        attempt.run.loaded(decider, stream.id, stream.version)
        return _WatchedStream(stream, self._watch)


class _WatchedStream(_Proxy):
    _inner: Stream[Any, Any]

    def append(self, *events: Event) -> None:
        self._inner.append(*events)
        self._watch.appended += [Appended(self._inner.id, each) for each in events]
