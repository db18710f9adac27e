"""Commands order, events report. Both are frozen pydantic models, checked at every boundary they cross."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_origin
from uuid import UUID

import msgspec
from pydantic import BaseModel, TypeAdapter
from pydantic_core import from_json, to_json

# What travels beside a command is part of this module too.
from counteract.dispatch import COMMAND_IDS as COMMAND_IDS  # noqa: PLC0414
from counteract.dispatch import Dispatch as Dispatch  # noqa: PLC0414
from counteract.dispatch import Role as Role  # noqa: PLC0414
from counteract.dispatch import Standing as Standing  # noqa: PLC0414
from counteract.dispatch import command_id_of as command_id_of  # noqa: PLC0414
from counteract.message import Message as Message  # noqa: PLC0414
from counteract.options import Retry as Retry  # noqa: PLC0414 - part of what a command declares
from counteract.options import limit_problems, limits, name_problems, service_problems, version_problems
from counteract.personal import personal_fields, unsealed_fields
from counteract.schemas import unreadable

R = TypeVar("R")
T = TypeVar("T")
E = TypeVar("E", bound="Event")
E_co = TypeVar("E_co", covariant=True, bound="Event")

_NIL = UUID(int=0)
_RETRY = Retry()


# Events


Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A function from an event's data in one version to its data in the next. Pure, and never edited once it is in use."""


Tagger = Callable[[Any], Iterable[str]]
"""A function from an event to its tags. Pure."""


def _no_tags(_: Any) -> Iterable[str]:
    return ()


class Event(Message):
    """Something that happened. `name` and `version` are the stored contract and default to the class name and 1.

    A changed event has a new version, and an upcaster for what is stored of the old ones, each one step:

        class StockReserved(Event, version=2, upcasters={1: lambda data: data | {"unit": "piece"}}): ...

    Its `tags`, by which queries find it whatever its stream, are stored beside it, as they are: keep personal data out:

        class SeatTaken(Event, tags=lambda event: [f"flight:{event.flight}", f"seat:{event.seat}"]): ...
    """

    event_type: ClassVar[str]
    schema_version: ClassVar[int]
    upcasters: ClassVar[Mapping[int, Upcaster]]
    """The upcasters, by the version that each of them reads."""
    personal: ClassVar[Mapping[str, str]]
    """The fields that are stored encrypted, each with the field that names its subject."""
    # With an underscore, as no field has one.
    _tagger: ClassVar[Tagger] = _no_tags

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        upcasters: Mapping[int, Upcaster] | None = None,
        tags: Tagger | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        upcasters: Mapping[int, Upcaster] | None = None,
        tags: Tagger | None = None,
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if tags is not None:
            cls._tagger = staticmethod(tags)
        cls.event_type = name or cls.__name__
        cls.schema_version = version
        cls.upcasters = dict(upcasters or {})
        cls._declare([*name_problems("name", cls.event_type), *version_problems(version, sorted(cls.upcasters))])
        cls.personal = personal_fields(cls)


def tags_of(event: Event) -> list[str]:
    """The event's tags, each once, as its class says or the class that this one derives from."""
    return list(dict.fromkeys(type(event)._tagger(event)))


class StreamId(NamedTuple):
    """One aggregate's stream: its type and its id within that type."""

    aggregate_type: str
    aggregate_id: str

    def __str__(self) -> str:
        return f"{self.aggregate_type}/{self.aggregate_id}"


class Recorded(msgspec.Struct, Generic[E_co], frozen=True):
    """An event as the store holds it. `Recorded.of` makes one that comes from nowhere, for a test of a handler."""

    event: E_co
    stream: StreamId
    version: int
    """1 for the stream's first event, without holes."""
    position: int
    """The place in the global order: increasing, with holes."""
    recorded_at: datetime
    """UTC, by the database's clock."""
    id_bytes: bytes
    metadata_json: str

    @staticmethod
    def of(
        event: E,
        stream: StreamId,
        *,
        version: int = 1,
        position: int = 1,
        recorded_at: datetime = datetime(2000, 1, 1, tzinfo=UTC),
        event_id: UUID = _NIL,
        metadata: Mapping[str, Any] | None = None,
    ) -> Recorded[E]:
        """An event that comes from nowhere, for a test of a handler.

        What is not given is as for a first event without metadata.
        """
        about = to_json(metadata or {}).decode()
        return Recorded(event, stream, version, position, recorded_at, event_id.bytes, about)

    @property
    def event_id(self) -> UUID:
        """The id by which an append that is repeated is known as the same."""
        return UUID(bytes=self.id_bytes)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """`correlation_id`, `causation_id`, `saga`, `step`, `user_id` as far as known.

        Parsed each time it is asked for.
        """
        metadata: Mapping[str, Any] = from_json(self.metadata_json)
        return metadata


# Commands


class CommandKind(StrEnum):
    """The kinds of commands, in the literature's terms, by what a saga may do about them."""

    COMPENSATABLE = "compensatable"
    PIVOT = "pivot"
    RETRIABLE = "retriable"


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """The declaration of a command class, apart from its fields."""

    name: str
    """The activity type."""
    kind: CommandKind
    service: str
    """The task queue of the workers that handle it."""
    compensation: str | None
    """The activity type of its undo."""
    result: TypeAdapter[Any]
    result_type: Any
    attempt_timeout: timedelta
    """The most that one attempt may take."""
    timeout: timedelta
    """The most that all attempts together may take; a retriable command begins anew after it."""
    retry: Retry
    undo_attempt_timeout: timedelta
    """The most that one attempt at the undo may take."""

    @property
    def settlement(self) -> str | None:
        """The activity type that finds out whether the command happened, and bars it if not.

        None where there is an undo.
        """
        return None if self.kind is CommandKind.COMPENSATABLE else f"Settle{self.name}"


def _result_problems(cls: type[BaseModel]) -> list[str]:
    result = TypeAdapter(_result_type(cls))
    return [f"its result: {each}" for each in unreadable(result.core_schema)] if result.pydantic_complete else []


def _personal_problems(cls: type[BaseModel]) -> Iterator[str]:
    """A problem for each field that is marked Personal: only events are sealed."""
    marked = [*unsealed_fields(cls), *(f"its result: {each}" for each in unsealed_fields(_result_type(cls)))]
    for each in marked:
        yield (
            f"{each} is marked Personal, and neither commands nor results are sealed: send an id, and let the handler look the rest "
            "up; or take the mark away, and give the client a codec that encrypts"
        )


def _is_template(cls: type[BaseModel]) -> bool:
    """A generic class, or one that pydantic derived by filling in its parameters: not yet a command of anybody's."""
    declared = any(get_origin(base) is Generic for base in cls.__dict__.get("__orig_bases__", ()))
    return declared or cls.__pydantic_generic_metadata__["origin"] is not None


def _result_type(cls: type[BaseModel]) -> Any:
    for base in cls.__mro__:
        generic = getattr(base, "__pydantic_generic_metadata__", None)
        if generic and generic["args"]:
            return generic["args"][0]
    raise TypeError(f"{cls.__name__} must say what it returns, as in Pivot[Receipt] or Pivot[None]")


class Command(Message, Generic[R]):
    """An order to one service, answered by an `R`. Derive from `Compensatable`, `Pivot` or `Retriable`.

    The class's keywords are checked as it is declared, and InvalidDeclaration lists all that is wrong with them and
    with the fields: every instance must come back from its JSON as it was. Where one of `attempt_timeout` and `timeout`
    is left out, it goes by the other; `undo_attempt_timeout` is for an undo that needs longer (or may take less) than
    the step.
    """

    spec: ClassVar[CommandSpec]
    kind: ClassVar[CommandKind]

    def __init_subclass__(
        cls,
        *,
        service: str | None = None,
        compensation: str | None = None,
        attempt_timeout: timedelta | None = None,
        timeout: timedelta | None = None,
        retry: Retry = _RETRY,
        undo_attempt_timeout: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(
        cls,
        *,
        service: str | None = None,
        compensation: str | None = None,
        attempt_timeout: timedelta | None = None,
        timeout: timedelta | None = None,
        retry: Retry = _RETRY,
        undo_attempt_timeout: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if _is_template(cls):
            return
        cls._declare(
            [
                *service_problems(cls.__name__, cls.kind, service, compensation),
                *limit_problems(attempt_timeout, timeout, undo_attempt_timeout),
                *_result_problems(cls),
                *_personal_problems(cls),
            ]
        )
        one, all_ = limits(attempt_timeout, timeout)
        result_type = _result_type(cls)
        cls.spec = CommandSpec(
            name=cls.__name__,
            kind=cls.kind,
            service=service or "",
            compensation=compensation,
            result=TypeAdapter(result_type),
            result_type=result_type,
            attempt_timeout=one,
            timeout=all_,
            retry=retry,
            undo_attempt_timeout=undo_attempt_timeout or one,
        )

    is_child: ClassVar[bool] = False
    """Whether the step is a saga of its own, and no command of a service."""

    def step_name(self) -> str:
        """The name of the saga's steps with this command."""
        return self.spec.name

    def summary(self) -> str | None:
        """The text that the Web UI shows beside the step's name: override it to tell one from another.

        Keep personal data out, and be brief: 200 bytes are shown.
        """
        return None


class Compensatable(Command[R], Generic[R]):
    """A step before the pivot. It is undone by `compensation=` whenever the saga does not get past the pivot."""

    kind: ClassVar[CommandKind] = CommandKind.COMPENSATABLE


class Pivot(Command[R], Generic[R]):
    """The point of no return: nothing is undone once it took effect."""

    kind: ClassVar[CommandKind] = CommandKind.PIVOT


class Retriable(Command[R], Generic[R]):
    """A step after the pivot: it cannot be refused and is retried until it succeeds."""

    kind: ClassVar[CommandKind] = CommandKind.RETRIABLE


def subclasses(of: type[T]) -> Iterator[type[T]]:
    """All classes that derive from this one and that the program has imported."""
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


class Outcome(StrEnum):
    """The outcome of a step that was begun, as far as it is known."""

    APPLIED = "applied"
    NOT_APPLIED = "not applied"
    UNKNOWN = "unknown"
