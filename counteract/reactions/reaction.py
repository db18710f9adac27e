"""Reactions, and the actions that they answer events with."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from counteract.errors import ConfigurationError
from counteract.messages import Command, Event, Recorded


@dataclass(frozen=True, slots=True)
class StartSaga:
    """Start a workflow, once per event. `saga` is its class or its run method."""

    saga: type | Callable[..., Awaitable[Any]]
    argument: Any
    task_queue: str
    id: str | None = None
    """Its workflow id; by default it follows from the reaction's name and the event's id. One that has been used counts
    as started, by whomever.
    """


@dataclass(frozen=True, slots=True)
class Send:
    """Have a participant carry out one command, once per event. `task_queue` is one of a worker that runs sagas."""

    command: Command[Any]
    task_queue: str


Action = StartSaga | Send
Answer = Action | Iterable[Action] | None
Function = Callable[[Any], Answer | Awaitable[Answer]]
Begin = Literal["now", "start"]


@dataclass(frozen=True, slots=True)
class Reaction:
    """A function that says what is to be done about events of some types.

    `name` names its checkpoint, and stands in the ids of what it starts.
    """

    name: str
    events: tuple[type[Event], ...]
    function: Function
    from_: Begin
    wants_recorded: bool

    async def actions(self, recorded: Recorded[Any]) -> Sequence[Action]:
        """The actions that it answers this event with, in order. Raises ConfigurationError for any other answer."""
        answer = self.function(recorded if self.wants_recorded else recorded.event)
        if inspect.isawaitable(answer):
            answer = await answer
        actions = [answer] if isinstance(answer, Action) else list(answer or ())
        given: Sequence[object] = actions
        if wrong := [type(each).__name__ for each in given if not isinstance(each, Action)]:
            problems = [f"it returned {each}: return StartSaga(…), Send(…), several of them, or None" for each in wrong]
            raise ConfigurationError(f"reaction {self.name!r}", problems)
        return actions


def reacts_to(*events: type[Event], name: str | None = None, from_: Begin = "now") -> Callable[[Function], Reaction]:
    """Declare a reaction: a function of an event, or of a `Recorded` one, sync or async, that returns its answer.

    It is asked again for the same event after a failure, and must give the same answer in the same order. A reaction
    that is new begins with what is appended from its first start on, or, with `from_="start"`, with the first event.
    Raises ConfigurationError.
    """

    def declare(function: Function) -> Reaction:
        called = name or getattr(function, "__name__", "").replace("_", "-")
        taken, wants_recorded = _parameter(function)
        problems = [f"{each!r} is no Event class" for each in (events or ("nothing",)) if not _is_event(each)]
        problems += [f"its parameter is annotated {each!r}, which is no Event" for each in taken if not _is_event(each)]
        if not taken:
            problems.append("its first parameter needs an annotation: the event's class, or Recorded[…] of it")
        if not problems and set(taken) != set(events):
            says = ", ".join(each.__name__ for each in taken)
            problems.append(f"it takes {says}, which is not what it reacts to")
        if from_ not in {"now", "start"}:
            problems.append(f"from_={from_!r}: it begins at 'now' or at the 'start'")
        if problems:
            raise ConfigurationError(f"reaction {called!r}", problems)
        return Reaction(called, events, function, from_, wants_recorded)

    return declare


def _parameter(function: Function) -> tuple[Sequence[Any], bool]:
    """The classes that its first parameter may have, and whether it takes them as Recorded."""
    parameters = list(inspect.signature(function).parameters)
    annotation = get_type_hints(function).get(parameters[0]) if parameters else None
    if annotation is None:
        return (), False
    is_recorded = get_origin(annotation) is Recorded
    inner = get_args(annotation)[0] if is_recorded else annotation
    is_union = get_origin(inner) in {Union, UnionType}
    return (get_args(inner) if is_union else (inner,)), is_recorded


def _is_event(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, Event) and candidate is not Event
