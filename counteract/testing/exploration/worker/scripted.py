"""Handlers for sagas whose services are not at hand: each effect and each undo is one event, behind the real fence."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any
from uuid import UUID

from counteract.decider import Decider
from counteract.errors import Rejected
from counteract.messages import Command, Dispatch, Event
from counteract.participants.executor import Participant
from counteract.participants.handlers import Handler, Happened, NeverHappened, Role, Settle, Undo
from counteract.participants.streams import Streams
from counteract.store import PostgresEventStore
from counteract.testing.exploration.worker.services import Answers

_Answer = Callable[[str], Any]
"""The answer to a step, by its key."""


class Done(Event, name="ExploredStepDone"):
    """The step took effect."""

    command: UUID


class Undone(Event, name="ExploredStepUndone"):
    """It was taken back."""

    command: UUID


_Effect = Done | Undone
_Function = Callable[..., Awaitable[Any]]
BESIDE = " beside"
"""The end of the workflow id of a saga that shares the aggregates of another."""


def _evolve(net: Mapping[UUID, int], event: _Effect) -> Mapping[UUID, int]:
    return {**net, event.command: net.get(event.command, 0) + (1 if isinstance(event, Done) else -1)}


_effects = Decider[Mapping[UUID, int], _Effect]("explored-saga", initial={}, evolve=_evolve, events=_Effect)
"""The net effects of one saga, by command: one aggregate for all of its steps, so that they conflict."""


class _Outside:
    """A provider of external effects, idempotent by key, that fails to bar what it was asked to undo before it came.

    What it says never happened will not happen. An effect that comes after its undo is made all the same: the engine
    has to notice, wherever it can.
    """

    def __init__(self) -> None:
        self._held: set[UUID] = set()
        self._barred: set[UUID] = set()

    def do(self, key: UUID) -> None:
        """Make the effect of this key, once. Raises Rejected if it was said never to happen."""
        if key in self._barred:
            raise Rejected("barred before")
        self._held.add(key)

    def undo(self, key: UUID) -> None:
        self._held.discard(key)

    def has_done(self, key: UUID) -> bool:
        """Whether it has done what this key stands for; if not, it never will."""
        if key not in self._held:
            self._barred.add(key)
        return key in self._held


class ScriptedServices:
    """Answers every command: with what `answers` gives for its class, or with some value of its result type."""

    resources: Mapping[Any, Any] = MappingProxyType({})

    def __init__(
        self,
        store: PostgresEventStore,
        *,
        answers: Mapping[type[Command[Any]], Any],
        external: Collection[type[Command[Any]]],
    ) -> None:
        self.store = store
        self._answers = Answers(answers)
        self._external = {each.__name__ for each in external}
        self._outside = _Outside()

    def answer(self, command: type[Command[Any]]) -> Any:
        return self._answers.to(command)

    def participant(self, command: type[Command[Any]]) -> Participant:
        answer = self._answer_of(command)
        external = command.__name__ in self._external
        do, undo = self._outside_of(answer) if external else _inside(answer)
        wants = {"streams": Streams, "dispatch": Dispatch}
        return Participant(
            command,
            Handler(Role.HANDLES, command, do, "external" if external else "transactional", wants),
            Handler(Role.COMPENSATES, command, undo, wants=wants) if command.spec.compensation else None,
            Handler(Role.SETTLES, command, self._settlement(answer), wants=wants) if external else None,
        )

    def _answer_of(self, command: type[Command[Any]]) -> _Answer:
        """The given answer, or else a value that holds the step's key, if its type lets it."""
        return functools.partial(self._answers.to, command)

    def _outside_of(self, answer: _Answer) -> tuple[_Function, _Function]:
        async def do(_: Command[Any], *, streams: Streams, dispatch: Dispatch) -> Any:
            self._outside.do(dispatch.command_id)
            return answer(dispatch.step)

        async def undo(undo: Undo[Any, Any], *, streams: Streams, dispatch: Dispatch) -> None:
            self._outside.undo(undo.command_id)

        return do, undo

    def _settlement(self, answer: _Answer) -> _Function:
        async def settle(settle: Settle[Any], *, streams: Streams, dispatch: Dispatch) -> Any:
            if not self._outside.has_done(settle.command_id):
                return NeverHappened()
            return Happened(answer(dispatch.step))

        return settle


def _inside(answer: _Answer) -> tuple[_Function, _Function]:
    async def do(_: Command[Any], *, streams: Streams, dispatch: Dispatch) -> Any:
        await _append(streams, dispatch, Done(command=dispatch.command_id))
        return answer(dispatch.step)

    async def undo(undo: Undo[Any, Any], *, streams: Streams, dispatch: Dispatch) -> None:
        await _append(streams, dispatch, Undone(command=undo.command_id))

    return do, undo


async def _append(streams: Streams, dispatch: Dispatch, event: _Effect) -> None:
    stream = await streams.load(_effects, dispatch.saga_id.removesuffix(BESIDE))
    before = stream.state.get(event.command, 0)
    stream.append(event)
    # Whoever decides further on a stream goes by what it has just appended.
    if stream.state[event.command] == before:
        raise RuntimeError("the state of a stream does not follow what is appended to it")
