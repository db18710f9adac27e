"""`counteract events trace`: all that one saga, or one request, set off, as a tree of causes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.output import AsJson, document, is_for_programs, name_of, say_document, say_whole
from counteract.errors import CounteractError
from counteract.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.tree import Tree

    from counteract.store import StoredEvent

_COMMANDS = """
    select c.command_id, c.step, c.activity_type, c.status, coalesce(c.undoes, child.parent_command),
           coalesce(c.started_at, c.recorded_at),
           c.activity_type = 'Settle' || original.activity_type, c.result -> 'happened'
    from commands c left join commands original on original.command_id = c.undoes
    left join sagas child
         on child.parent_saga_id = c.saga_id and child.parent_run_id = c.run_id and child.parent_step = c.step
    where c.saga_id = %s order by c.recorded_at, c.command_id
"""
_CHILDREN = """
    select parent_command, parent_step, saga_id, saga_type, state, began_at from sagas
    where parent_saga_id = %s order by began_at, saga_id
"""
_MOST = 100_000


@dataclass(slots=True)
class _Node:
    """A command or an event, and what it caused."""

    id: str
    cause: str | None
    time: datetime
    title: str
    facts: dict[str, Any]
    children: list[_Node] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[int, _Node]]:
        """The node and all beneath it, each with its depth."""
        # Without recursion: what a saga caused may be a chain of any length.
        left: list[tuple[int, _Node]] = [(0, self)]
        while left:
            depth, node = left.pop()
            yield depth, node
            left += [(depth + 1, child) for child in reversed(node.children)]


def trace(
    correlation_id: Annotated[str, typer.Argument(metavar="ID", help="A saga's id, or another correlation id.")],
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", metavar="URL", help="Where the event store is.", show_envvar=True)
    ],
    as_json: AsJson = None,
) -> None:
    """The whole story of one saga: its commands, the events that each caused, and what undid them."""
    roots = asyncio.run(_traced(database_url, correlation_id))
    if not roots:
        raise CounteractError(f"nothing is known of {correlation_id!r}: neither a command nor an event has it")
    if is_for_programs(as_json):
        for depth, node in (step for root in roots for step in root.walk()):
            say_document({"depth": depth, "id": node.id, "cause": node.cause, **node.facts})
        return
    from rich.text import Text
    from rich.tree import Tree

    tree = Tree(Text(printable(correlation_id)), highlight=False)
    for root in roots:
        _grow(tree, root)
    say_whole(tree)


async def _traced(url: str, correlation_id: str) -> Sequence[_Node]:
    from counteract.store.postgres.connect import connect
    from counteract.store.postgres.driver_errors import translated
    from counteract.store.postgres.high_water_mark import HighWaterMark
    from counteract.store.postgres.read import Selection, read_selected

    with translated():
        async with await connect(url) as connection:
            end = await HighWaterMark(connection).settled(timeout=30)
            commands = await (await connection.execute(_COMMANDS, (correlation_id,))).fetchall()
            children = await (await connection.execute(_CHILDREN, (correlation_id,))).fetchall()
            selection = Selection(correlation_id=correlation_id)
            events = await read_selected(connection, selection, after=0, up_to=end, limit=_MOST)
    return _story([*map(_command, commands), *map(_child, children), *map(_event, events)])


def _story(nodes: Sequence[_Node]) -> Sequence[_Node]:
    """The nodes without a cause among them; the others stand beneath theirs, in the order of time."""
    known = {node.id: node for node in nodes}
    roots: list[_Node] = []
    for node in sorted(nodes, key=lambda each: each.time):
        cause = known.get(node.cause or "")
        (roots if cause is None or cause is node else cause.children).append(node)
    return roots


def _command(row: Sequence[Any]) -> _Node:
    command_id, step, activity, status, undoes, time, is_settlement, happened = row
    title = f"{_what(undoes is not None, is_settlement, happened)}{activity} [{status}]"
    facts = {"kind": "command", "step": step, "activity": activity, "status": status, "time": time.isoformat()}
    return _Node(str(command_id), str(undoes) if undoes else None, time, title, facts)


def _child(row: Sequence[Any]) -> _Node:
    """The node of a child saga, whose story is told under its own id."""
    command_id, step, saga_id, saga_type, state, time = row
    facts = {"kind": "child", "step": step, "saga": saga_id, "state": state, "time": time.isoformat()}
    return _Node(str(command_id), None, time, f"child saga {saga_id}  {saga_type} [{state}]", facts)


def _what(concerns_another: bool, is_settlement: bool | None, happened: bool | None) -> str:
    """Words for what a command does to the one above it. A settlement undoes nothing: it says what became of that."""
    if not concerns_another:
        return ""
    if not is_settlement:
        return "undone by "
    return "settled by " if happened is None else f"settled as {'happened' if happened else 'never happened'} by "


def _event(event: StoredEvent) -> _Node:
    cause = _metadata(event).get("causation_id")
    title = f"{event.position}  {name_of(event.stream)}  {event.version}  {event.event_type}  {event.data}"
    return _Node(
        str(event.event_id), cause and str(cause), event.recorded_at, title, {"kind": "event"} | document(event)
    )


def _metadata(event: StoredEvent) -> Mapping[str, Any]:
    """The event's metadata; none where it was imported with what Python cannot read."""
    try:
        return event.metadata
    except ValueError:
        return {}


def _grow(tree: Tree, node: _Node) -> None:
    from rich.text import Text

    above = [tree]
    for depth, each in node.walk():
        del above[depth + 1 :]
        above.append(above[depth].add(Text(printable(each.title))))
