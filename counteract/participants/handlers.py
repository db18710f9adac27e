"""Marks plain async functions as the handlers of commands, their undo, and the settling of pivots."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar, get_type_hints
from uuid import UUID

from counteract.errors import ConfigurationError
from counteract.messages import Command, Outcome

C = TypeVar("C", bound=Command[Any])
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

Effect = Literal["transactional", "external"]

_MARK = "__counteract_handler__"


@dataclass(frozen=True, slots=True)
class Undo(Generic[C, R]):
    """The original that a compensation is to undo."""

    command: C
    """The original command."""
    command_id: UUID
    """The original's id: the idempotency key that it used outside."""
    outcome: Outcome
    """`APPLIED`: it took effect. `UNKNOWN`: it may have, or may be about to."""
    result: R | None
    """The result of the original; None where the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Settle(Generic[C]):
    """The external pivot or retriable to settle: ask the provider, by `command_id`, whether it happened."""

    command: C
    """The original command."""
    command_id: UUID
    """The original's id: the idempotency key that it used outside."""


@dataclass(frozen=True, slots=True)
class Happened(Generic[R]):
    """The command took effect, with this result."""

    result: R


@dataclass(frozen=True, slots=True)
class NeverHappened:
    """The command did not take effect, and the provider will refuse it if it comes late."""


class Role(StrEnum):
    """The kinds of handlers."""

    HANDLES = "handles"
    COMPENSATES = "compensates"
    SETTLES = "settles"


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that is marked as a handler."""

    role: Role
    command: type[Command[Any]]
    function: Callable[..., Awaitable[Any]]
    effect: Effect = "transactional"
    wants: Mapping[str, Any] = field(default_factory=dict)
    """The annotated types of the parameters after the first."""

    def __str__(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"


def handles(command: type[Command[Any]], *, effect: Effect = "transactional") -> Callable[[F], F]:
    """Mark the function that carries out a command: `async def f(command, streams, ...) -> result`.

    The default is a decision on streams, with no effect of its own: it may run again after a conflict, and takes effect
    as its events and its result are recorded, at once or not at all. `effect="external"` is for functions that call
    out: their command is known to have started before they run, they are stopped after four fifths of the command's
    `attempt_timeout`, and they must pass `Dispatch.command_id` on as the idempotency key. They too run again where
    another writer is faster; a refusal is no proof by then, and the step is undone (a pivot settled).
    """
    return _marked(Role.HANDLES, command, effect)


def compensates(command: type[Command[Any]]) -> Callable[[F], F]:
    """Mark the function that undoes a command: `async def f(undo: Undo[Command, Result], streams, ...) -> None`.

    It runs when the command took effect, or, with `Outcome.UNKNOWN`, when an external one may have. It is tried until
    it succeeds, and what it appends is recorded once.

    The undo of an external command owes three things: it goes by `Undo.command_id`, the key that the original used, and
    not by its result, which may have been lost; it is safe to repeat; and where it finds nothing to undo, it bars the
    key at the provider. For the original's request may still be on its way, in a thread, a queue or the network, and
    must do nothing when it arrives after the undo. A provider that cannot bar a key: do there what the original does,
    under its key, and undo that.
    """
    return _marked(Role.COMPENSATES, command, "transactional")


def settles(command: type[Command[Any]]) -> Callable[[F], F]:
    """Mark the function that asks the provider about an external pivot (or retriable) that ended without an answer.

    `async def f(settle: Settle[Command], ...) -> Happened[Result] | NeverHappened`; it raises while the provider cannot
    say, and is asked again.
    """
    return _marked(Role.SETTLES, command, "transactional")


def marked_in(source: object) -> list[Handler]:
    """The handlers in a module; of a single function, its own."""
    if callable(source):
        handler = getattr(source, _MARK, None)
        return [handler] if handler else []
    own = (value for _, value in inspect.getmembers(source, callable))
    return [getattr(value, _MARK) for value in own if hasattr(value, _MARK)]


def _marked(role: Role, command: type[Command[Any]], effect: Effect) -> Callable[[F], F]:
    def mark(function: F) -> F:
        setattr(function, _MARK, Handler(role, command, function, effect, _wants(function)))
        return function

    return mark


def _wants(function: Callable[..., Any]) -> dict[str, Any]:
    name = f"{function.__module__}.{function.__qualname__}"
    if not inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"handler {name} is declared wrongly", ["it must be an async function"])
    try:
        hints = get_type_hints(function)
    except NameError as error:
        problem = f"its annotation cannot be resolved: {error}; import the type outside `if TYPE_CHECKING`"
        raise ConfigurationError(f"handler {name} is declared wrongly", [problem]) from None
    _, *others = inspect.signature(function).parameters
    untyped = [f"parameter {other!r} needs a type annotation" for other in others if other not in hints]
    if untyped:
        raise ConfigurationError(f"handler {name} is declared wrongly", untyped)
    return {other: hints[other] for other in others}
