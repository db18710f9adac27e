"""All services of a saga, in one worker, with faults around their deliveries and their handlers."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid5

from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from counteract.errors import CommandFenced, ConfigurationError
from counteract.messages import Command, Dispatch
from counteract.participants import Participants
from counteract.participants.activities import activities_of
from counteract.participants.executor import Executor, Participant
from counteract.participants.fence import Fence
from counteract.participants.handlers import Role
from counteract.saga.interceptor import standing_in
from counteract.store import PostgresEventStore
from counteract.testing.exploration.attempt import CURRENT, Attempt
from counteract.testing.exploration.faults import Layer, Place, Proceed
from counteract.testing.exploration.people import expect_corrected
from counteract.testing.exploration.run import Run
from counteract.testing.exploration.worker.observation import watched
from counteract.testing.exploration.worker.samples import sample

STANDING_OF_CALL: ContextVar[Payload | None] = ContextVar("what the saga says of itself with this call", default=None)
_Activity = Callable[[Any, Any], Awaitable[Any]]
_Name = tuple[str, str]
_FORGET = "delete from commands where command_id = %s"


class Answers:
    """The answers of scripts: the one given for a command's class, or else some value of its result type."""

    def __init__(self, given: Mapping[type[Command[Any]], Any]) -> None:
        self._given = {each.__name__: answer for each, answer in given.items()}

    def to(self, command: type[Command[Any]], text: str = "x") -> Any:
        """The answer to a command of this class; one that is made up holds `text`, if its type lets it.

        Raises ConfigurationError where none is given, and none can be made up.
        """
        given = self._given.get(command.__name__)
        return sample(command.spec.result, text) if given is None else given


class Services(Protocol):
    """The services that carry out the commands of the saga."""

    @property
    def store(self) -> PostgresEventStore: ...

    def participant(self, command: type[Command[Any]]) -> Participant:
        """The handlers of a command's class. Raises ConfigurationError where there are none."""
        ...

    def answer(self, command: type[Command[Any]]) -> Any:
        """A value that a step of this class may be taken to have returned.

        Raises ConfigurationError where there is none.
        """
        ...

    @property
    def resources(self) -> Mapping[Any, Any]: ...


class RealServices(Services):
    """The user's own handlers, on the user's own store."""

    def __init__(self, participants: Participants, *, answers: Mapping[type[Command[Any]], Any]) -> None:
        self._participants = participants
        self._answers = Answers(answers)
        self._by_name = {_name(each.command): each for each in participants.check()}

    @property
    def store(self) -> PostgresEventStore:
        return self._participants._store

    @property
    def resources(self) -> Mapping[Any, Any]:
        return self._participants._resources

    def participant(self, command: type[Command[Any]]) -> Participant:
        if found := self._by_name.get(_name(command)):
            return found
        raise ConfigurationError("participants= is not complete", [f"{command.__name__} has no handler"])

    def answer(self, command: type[Command[Any]]) -> Any:
        return self._answers.to(command)


@dataclass(slots=True)
class Desk:
    """The one activity of the exploration's worker: it answers for every command of every service.

    It has one task queue, whatever the services are named, so that workers which serve them elsewhere do not interfere.
    """

    services: Services
    runs: Mapping[str, Run]
    own: Participant
    """The participant of the command that exploration itself has a saga send."""
    _known: dict[tuple[_Name, str], tuple[type[Command[Any]], _Activity]] = field(default_factory=dict)

    @activity.defn(dynamic=True)
    async def answer(self, arguments: Sequence[RawValue]) -> Any:
        """Carry out one command, undo or settlement, by the handler of whichever service it belongs to."""
        convert = activity.payload_converter().from_payload
        dispatch: Dispatch = convert(arguments[1].payload, Dispatch)
        if (standing := STANDING_OF_CALL.get()) is not None:
            dispatch = dispatch.model_copy(update={"standing": standing_in(standing)})
        sent = type(self.runs[dispatch.saga_id].commands[dispatch.command_id])
        try:
            command_type, answering = self._activity(sent, activity.info().activity_type)
        except ConfigurationError as error:
            await self.runs[dispatch.saga_id].give_up(str(error))
            raise
        return await answering(convert(arguments[0].payload, command_type), dispatch)

    def external(self, command: type[Command[Any]]) -> bool:
        """Whether the effects of this command are external ones."""
        return self.participant(command).external

    def participant(self, command: type[Command[Any]]) -> Participant:
        """The participant of the services, or the one for exploration's own command."""
        return self.own if command is self.own.command else self.services.participant(command)

    def _activity(self, sent: type[Command[Any]], name: str) -> tuple[type[Command[Any]], _Activity]:
        key = (_name(sent), name)
        if key not in self._known:
            participant = watched(self.participant(sent))
            spec = participant.command.spec
            executor = _FaultyExecutor(participant, Fence(self.services.store), self.services.resources, self.runs)
            names = [each for each in (spec.name, spec.compensation, spec.settlement) if each is not None]
            for each, made in zip(names, activities_of(executor), strict=True):
                self._known[_name(sent), each] = (participant.command, made)
        return self._known[key]


@dataclass(frozen=True)
class _FaultyExecutor(Executor):
    """The engine's own executor, with faults around it."""

    runs: Mapping[str, Run]

    async def forward(self, command: Command[Any], dispatch: Dispatch, *, limit: float) -> Any:
        # The command that was refused keeps its recorded answer.
        by_hand = functools.partial(super().forward, command, _by_hand(dispatch), limit=limit)
        proceed = functools.partial(super().forward, command, dispatch, limit=limit)
        return await self._meet(Role.HANDLES, command, dispatch, proceed, by_hand)

    async def undo(self, command: Command[Any], dispatch: Dispatch) -> None:
        # What was skipped is on record as concluded.
        by_hand = functools.partial(super().undo, command, _by_hand(dispatch))
        proceed = functools.partial(super().undo, command, dispatch)
        await self._meet(Role.COMPENSATES, command, dispatch, proceed, by_hand)

    async def settle(self, activity: str, command: Command[Any], dispatch: Dispatch) -> Any:
        proceed = functools.partial(super().settle, activity, command, dispatch)
        return await self._meet(Role.SETTLES, command, dispatch, proceed, proceed)

    async def _meet(
        self, role: Role, command: Command[Any], dispatch: Dispatch, proceed: Proceed, by_hand: Proceed
    ) -> Any:
        run = self.runs[dispatch.saga_id]
        place = Place(dispatch.step.partition("~")[0], role)
        attempt = Attempt(run, place, command, dispatch, by_hand, functools.partial(self._forget, run, dispatch))
        expect_corrected(attempt)
        CURRENT.set(attempt)
        concluding = proceed if role is Role.HANDLES else _concluding(run, place.step, proceed)
        sent = activity.info().workflow_run_id, activity.info().activity_id
        if sent in run.fenced:
            run.complain(f"{place} was refused for good, and tried again")
        try:
            return await attempt.through(Layer.DELIVERY, concluding)
        except CommandFenced:
            run.fenced.add(sent)
            raise

    async def _forget(self, run: Run, dispatch: Dispatch) -> None:
        """Delete the command's row, as a failover that loses the last commits does; appended events stay."""
        async with self.fence.store.connection() as connection:
            await connection.execute(_FORGET, (dispatch.command_id,))
        run.forgets(dispatch.command_id)


def _by_hand(dispatch: Dispatch) -> Dispatch:
    """The dispatch of what a person does by hand: under an id of its own, and of no saga's standing."""
    return dispatch.model_copy(update={"command_id": uuid5(dispatch.command_id, "by hand"), "standing": None})


def _concluding(run: Run, step: str, proceed: Proceed) -> Proceed:
    async def concluding() -> Any:
        result = await proceed()
        run.barred.add(step)
        run.concluded[step].set()
        return result

    return concluding


def _name(command: type) -> _Name:
    """A name in the place of the class, of which the sandbox may hold a copy."""
    return command.__module__, command.__qualname__
