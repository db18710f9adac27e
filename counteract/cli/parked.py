"""`counteract parked …`: events that a subscription could not handle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from counteract.cli.events import DatabaseUrl
from counteract.cli.output import AsJson, Stored, is_for_programs, name_of, named_stream, say, say_document, say_table
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from counteract.messages import StreamId
    from counteract.subscriptions.parked import ParkedStream

app = typer.Typer(no_args_is_help=True, help="Events that a subscription could not handle, and what comes behind them.")

_Subscription = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="Such as a projection's name.")]


@app.command("list")
def list_(database_url: DatabaseUrl, as_json: AsJson = None) -> None:
    """The streams that are parked, of all subscriptions."""
    asyncio.run(_list(database_url, as_json))


@app.command()
def show(
    subscription: _Subscription,
    database_url: DatabaseUrl,
    stream: Annotated[str | None, typer.Argument(metavar="[TYPE/ID]", help="One stream; by default all.")] = None,
    as_json: AsJson = None,
) -> None:
    """The parked events of a subscription, in order, with what went wrong. Data is shown as it is stored."""
    asyncio.run(_show(database_url, subscription, named_stream(stream) if stream else None, as_json))


@app.command()
def redrive(
    subscription: _Subscription,
    database_url: DatabaseUrl,
    stream: Annotated[str | None, typer.Argument(metavar="[TYPE/ID]", help="One stream; by default all.")] = None,
) -> None:
    """Try again, in order: once the code is corrected, or what it needs is there."""
    count = asyncio.run(_redrive(database_url, subscription, named_stream(stream) if stream else None))
    say(
        f"{count} events are tried again by the process that has {subscription}; `counteract parked list` shows what is left"
    )


@app.command()
def discard(
    subscription: _Subscription,
    position: Annotated[int, typer.Argument(help="Of the event, as `show` has it.")],
    why: Annotated[str, typer.Option(help="Recorded with the event.")],
    database_url: DatabaseUrl,
) -> None:
    """Never hand this event to the subscription. It stays in the store, and on record; redrive the rest of its stream."""
    asyncio.run(_discard(database_url, subscription, position, why))


async def _list(url: str, as_json: bool | None) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.subscriptions.parked import parked_streams

    with translated():
        async with await connect(url) as connection:
            found = await parked_streams(connection)
    if is_for_programs(as_json):
        for each in found:
            say_document(_document(each))
        return
    if not found:
        say("nothing is parked")
        return
    say_table(("subscription", "stream", "events", "first", "since", "why"), map(_row, found))


async def _show(url: str, subscription: str, stream: StreamId | None, as_json: bool | None) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.subscriptions.parked import parked_events, parked_streams

    with translated():
        async with await connect(url) as connection:
            streams = (
                [stream]
                if stream
                else [each.stream for each in await parked_streams(connection) if each.subscription == subscription]
            )
            found = [(each, event) for each in streams for event in await parked_events(connection, subscription, each)]
    if not found:
        raise CounteractError(f"{subscription!r} has nothing parked: `counteract parked list` shows what there is")
    for each, event in found:
        if is_for_programs(as_json):
            say_document(
                {
                    "stream": name_of(each),
                    "position": event.position,
                    "version": event.version,
                    "event_type": event.event_type,
                    "event_data": Stored(event.data) if event.data else None,
                    "error": event.error,
                    "parked_at": event.since.isoformat(),
                    "discarded_why": event.discarded_why,
                }
            )
            continue
        fate = event.error or (
            f"discarded: {event.discarded_why}" if event.discarded_why else "waits for those before it"
        )
        say(f"{event.position}  {name_of(each)}  {event.version}  {event.event_type}  {event.data}")
        say(f"   {fate}")


async def _redrive(url: str, subscription: str, stream: StreamId | None) -> int:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.subscriptions.parked import redrive

    with translated():
        async with await connect(url) as connection:
            return await redrive(connection, subscription, stream)


async def _discard(url: str, subscription: str, position: int, why: str) -> None:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.subscriptions.parked import discard

    with translated():
        async with await connect(url) as connection:
            await discard(connection, subscription, position, why=why)


def _row(parked: ParkedStream) -> tuple[str, ...]:
    since = "being tried again" if parked.is_redriven else f"{parked.since:%Y-%m-%d %H:%M:%S}"
    counted = str(parked.events), str(parked.position)
    return parked.subscription, name_of(parked.stream), *counted, since, parked.error or ""


def _document(parked: ParkedStream) -> dict[str, object]:
    return {
        "subscription": parked.subscription,
        "stream": name_of(parked.stream),
        "events": parked.events,
        "position": parked.position,
        "since": parked.since.isoformat(),
        "is_redriven": parked.is_redriven,
        "error": parked.error,
    }
