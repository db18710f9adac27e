"""`counteract events …`: what the event store holds, as it is stored: personal data stays sealed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from counteract.cli.application import Modules, deciders
from counteract.cli.keys import own_keys
from counteract.cli.output import AsJson, name_of, named_stream, say, say_lines, show_event, show_events
from counteract.cli.traces import trace
from counteract.cli.transfer import export, import_
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from counteract.messages import StreamId
    from counteract.store import StoredEvent
    from counteract.store.moment import Moment

app = typer.Typer(no_args_is_help=True, help="What the event store holds.")
app.command()(trace)
app.command()(export)
app.command("import")(import_)

DatabaseUrl = Annotated[
    str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.", show_envvar=True)
]
_Stream = Annotated[
    str | None,
    typer.Argument(
        metavar="[TYPE/ID]", help="One stream, such as saga/order-1; by default all. A / of the type is written %2F."
    ),
]
_Category = Annotated[str | None, typer.Option(metavar="TYPE", help="Only streams of this aggregate type.")]
_Types = Annotated[list[str] | None, typer.Option("--type", metavar="EVENT_TYPE", help="Only these events.")]
_Correlation = Annotated[str | None, typer.Option(metavar="ID", help="Only what belongs to this, such as a saga's id.")]
_PAGE = 1000


@app.callback()
def events() -> None:
    """What the event store holds."""


@app.command()
def read(
    database_url: DatabaseUrl,
    stream: _Stream = None,
    category: _Category = None,
    types: _Types = None,
    correlation: _Correlation = None,
    after: Annotated[int, typer.Option(min=0, help="Only events after this position.")] = 0,
    before: Annotated[int | None, typer.Option(min=1, help="Only events before this position.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    backwards: Annotated[bool, typer.Option("--backwards", help="The newest first.")] = False,
    as_json: AsJson = None,
) -> None:
    """Events in the order in which they happened, of all streams or of one."""
    wanted = _Wanted(
        named_stream(stream) if stream else None, category, types, correlation, after, before, limit, backwards
    )
    asyncio.run(_read(database_url, wanted, as_json))


@app.command()
def tail(
    database_url: DatabaseUrl,
    category: _Category = None,
    types: _Types = None,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="And what happens from now on, until Ctrl-C.")] = False,
    as_json: AsJson = None,
) -> None:
    """The last events, and with -f those that come."""
    wanted = _Wanted(category=category, types=types, limit=count, backwards=True)
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(database_url, wanted, follow, as_json))


@app.command()
def show(
    event: Annotated[str, typer.Argument(metavar="POSITION|EVENT_ID", help="Its place in the log, or its id.")],
    database_url: DatabaseUrl,
) -> None:
    """Everything about one event."""
    asyncio.run(_show(database_url, event))


@app.command()
def state(
    stream: Annotated[str, typer.Argument(metavar="TYPE/ID")],
    database_url: DatabaseUrl,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="A version (3), a position of the log (@120), or a time (2026-01-31T12:00+01:00)."
        ),
    ] = None,
    modules: Modules = None,
) -> None:
    """What a stream's events lead to, by the application's own decider: now, or as it was."""
    asyncio.run(_state(database_url, named_stream(stream), _moment(at), modules))


class _Wanted:
    """The events that `read` and `tail` are asked for."""

    def __init__(
        self,
        stream: StreamId | None = None,
        category: str | None = None,
        types: Sequence[str] | None = None,
        correlation: str | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> None:
        from counteract.store.postgres.read import Selection

        self.selection = Selection(stream=stream, category=category, event_types=types, correlation_id=correlation)
        self.after, self.before = after, before
        self.limit, self.backwards = limit, backwards


async def _read(url: str, wanted: _Wanted, as_json: bool | None) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.store.postgres.high_water_mark import HighWaterMark
    from counteract.store.postgres.read import read_selected_page

    left, after = wanted.limit, wanted.after
    with translated():
        async with await connect(url) as connection:
            end = await HighWaterMark(connection).settled(timeout=30)
            end = end if wanted.before is None else min(end, wanted.before - 1)
            while left is None or left > 0:
                size = _PAGE if left is None else min(_PAGE, left)
                page = await read_selected_page(
                    connection, wanted.selection, after=after, up_to=end, limit=size, backwards=wanted.backwards
                )
                if not page:
                    break
                show_events(page, as_json)
                left = None if left is None else left - len(page)
                after, end = (after, page[-1].position - 1) if wanted.backwards else (page[-1].position, end)


async def _tail(url: str, wanted: _Wanted, follow: bool, as_json: bool | None) -> None:
    from counteract.store.postgres.connect import connect, connect_directly
    from counteract.store.postgres.driver_errors import translated
    from counteract.store.postgres.high_water_mark import HighWaterMark
    from counteract.store.postgres.read import read_selected, read_selected_page

    with translated():
        async with await (connect_directly(url, "--follow") if follow else connect(url)) as connection:
            if follow:
                await connection.execute(f"listen {connection.store.channel}")
            mark = HighWaterMark(connection)
            seen = await mark.settled(timeout=30)
            last = await read_selected(
                connection, wanted.selection, after=0, up_to=seen, limit=wanted.limit or 0, backwards=True
            )
            show_events(last[::-1], as_json)
            while follow:
                async for _ in connection.notifies(timeout=0.5, stop_after=1):
                    pass
                end = await mark.advance()
                while page := await read_selected_page(
                    connection, wanted.selection, after=seen, up_to=end, limit=_PAGE
                ):
                    show_events(page, as_json)
                    seen = page[-1].position
                seen = max(seen, end)


async def _show(url: str, which: str) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.store.postgres.read import read_event_of, read_events_at

    with translated():
        async with await connect(url) as connection:
            if _is_number(which):
                found: Sequence[StoredEvent] = await read_events_at(connection, [int(which)])
            else:
                found = await read_event_of(connection, _event_id(which))
    if not found:
        raise CounteractError(f"there is no event {which}: `counteract events read` shows positions, and ids as JSON")
    show_event(found[0])


async def _state(url: str, stream: StreamId, at: Moment | None, modules: list[str] | None) -> None:
    from counteract.lifecycle import sagas
    from counteract.store import PostgresEventStore

    known: dict[str, Any] = {each.aggregate_type: each for each in (sagas, *deciders(modules))}
    if stream.aggregate_type not in known:
        raise CounteractError(f"no decider is for {stream.aggregate_type!r}; there are {', '.join(sorted(known))}")
    async with PostgresEventStore.open(url, pool_size=1, snapshot_every=0, master_key=own_keys()) as store:
        loaded = await store.load(known[stream.aggregate_type], stream.aggregate_id, at=at)
    say(f"{name_of(stream)}, version {loaded.version}")
    say_lines(_readable(loaded.state))


def _readable(state: Any) -> str:
    from pydantic_core import PydanticSerializationError, to_json

    try:
        return to_json(state, indent=2).decode()
    except PydanticSerializationError:
        return repr(state)


def _is_number(text: str) -> bool:
    """Whether it is one that a version or a position could be."""
    return text.isdecimal() and len(text) <= 18


def _event_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise CounteractError(f"{text!r} is neither a position nor an event's id, which is a UUID") from None


def _moment(text: str | None) -> Moment | None:
    from counteract.store.moment import AtPosition, AtVersion, with_zone

    if text is None:
        return None
    if _is_number(text):
        return AtVersion(int(text))
    if text.startswith("@") and _is_number(text[1:]):
        return AtPosition(int(text[1:]))
    try:
        return with_zone(datetime.fromisoformat(text))
    except ValueError as error:
        raise CounteractError(
            f"--at {text}: write a version (3), a position (@120) or a time with its zone (2026-01-31T12:00+01:00): {error}"
        ) from None
