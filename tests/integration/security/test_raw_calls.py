"""What the application's role says to the SQL functions itself, past the client: it can append events, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest

from counteract import Event
from counteract.errors import BoundaryChanged
from counteract.store import ANY, NO_STREAM, PostgresEventStore, Query
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.driver_errors import translate
from tests.counters import Counted, counter, counters

pytestmark = pytest.mark.integration

A, B = counter("a"), counter("b")
TAKEN = Query.of(tags=["email:a"])
_MOST = 2**31 - 1


class Taken(Event, tags=lambda _: ["email:a"]):
    """A name is taken."""


APPEND: dict[str, str] = {
    "types": "'{counter,counter}'",
    "ids": "'{a,b}'",
    "least": "'{0,0}'",
    "most": f"'{{{_MOST},{_MOST}}}'",
    "event_stream": "'{1}'",
    "event_ids": "array[gen_random_uuid()]",
    "event_types": "'{Counted}'",
    "schema_versions": "'{1}'",
    "data": """array['{"amount": 1}'::jsonb]""",
    "metadata": "array['{}'::jsonb]",
}
"""Of an event for the first of two streams, as the arguments of append_to_streams."""

OF_MANY = ("append_to_streams({})", "append_events({})", "append_on_terms('{{}}', {})")

NO_APPENDS: Mapping[str, Mapping[str, str]] = {
    "streams that are counted from 0": {"types": "'[0:1]={counter,counter}'", "ids": "'[0:1]={a,b}'"},
    "one array of streams that is": {"ids": "'[0:1]={a,b}'"},
    "streams in two dimensions": {"types": "'{{counter},{counter}}'", "ids": "'{{a},{b}}'"},
    "more ids than types": {"ids": "'{a,b,c}'"},
    "fewer bounds than streams": {"most": f"'{{{_MOST}}}'"},
    "no bound": {"most": f"'{{null,{_MOST}}}'"},
    "no bounds": {"least": "null"},
    "a bound that counts from 0": {"least": "'[0:1]={0,0}'"},
    "bounds between which there is no version": {"least": "'{6,0}'", "most": "'{4,0}'"},
    "no id": {"ids": "'{a,null}'"},
    "a stream before the first": {"event_stream": "'{0}'"},
    "a stream behind the last": {"event_stream": "'{3}'"},
    "no stream": {"event_stream": "'{null}'"},
    "events that are counted from 2": {"event_ids": "('[2:2]={' || gen_random_uuid() || '}')::uuid[]"},
    "fewer types than events": {"event_types": "'{}'"},
    "more data than events": {"data": "array['{}', '{}']::jsonb[]"},
    "no event id": {"event_ids": "'{null}'"},
    "no metadata": {"metadata": "'{null}'"},
}


def arguments(**instead: str) -> str:
    return ", ".join({**APPEND, **instead}.values())


def executed(url: str, statement: str) -> Any:
    with psycopg.connect(url, autocommit=True) as application:
        return application.execute(statement.encode()).fetchall()


@pytest.mark.parametrize("function", OF_MANY)
@pytest.mark.parametrize("mistake", NO_APPENDS.values(), ids=NO_APPENDS)
async def test_arrays_that_mean_no_append_are_refused(
    store: PostgresEventStore, app_url: str, function: str, mistake: Mapping[str, str]
) -> None:
    await store.append(A, [Counted()] * 5, expect=NO_STREAM)
    with pytest.raises(psycopg.Error, match="this is no append: ") as caught:
        executed(app_url, f"select {function.format(arguments(**mistake))}")
    assert caught.value.sqlstate == "CA006"
    assert "this is no append: " in str(translate(caught.value))
    assert len(await store.read()) == 5


@pytest.mark.parametrize("function", OF_MANY)
async def test_arrays_that_mean_one_are_not(store: PostgresEventStore, app_url: str, function: str) -> None:
    await store.append(A, [Counted(amount=2)] * 5, expect=NO_STREAM)
    executed(app_url, f"select {function.format(arguments())}")
    executed(app_url, f"select {function.format(arguments(event_stream=repr('{2}')))}")
    assert [(await store.load(counters, each)).version for each in ("a", "b")] == [6, 1]


_SOME = "array[gen_random_uuid()], '{Counted}', '{1}', array['{}'::jsonb], '{}'"
BOUNDED = {
    name: (call, bounds)
    for call in (
        "append_event('counter', 'a', %s, gen_random_uuid(), 'Counted', 1::smallint, '{}', '{}')",
        f"append_to_stream('counter', 'a', %s, {_SOME})",
        f"append_events_to_stream('counter', 'a', %s, {_SOME})",
    )
    for bounds in ("null, 0", "0, null", "null, null", "1, 0")
    for name in [f"{call.partition('(')[0]} {bounds}"]
}


@pytest.mark.parametrize(("call", "bounds"), BOUNDED.values(), ids=BOUNDED)
async def test_bounds_that_bound_nothing_are_refused(
    store: PostgresEventStore, app_url: str, call: str, bounds: str
) -> None:
    await store.append(A, [Counted()] * 5, expect=NO_STREAM)
    with pytest.raises(psycopg.Error, match="this is no append: ") as caught:
        executed(app_url, f"select {call.replace('%s', bounds)}")
    assert caught.value.sqlstate == "CA006"
    assert len(await store.read()) == 5


UNLIKE = {
    "more ids than types": "array[gen_random_uuid(), gen_random_uuid()], '{Counted}', '{1}', array['{}'::jsonb], '{}'",
    "more types than ids": "array[gen_random_uuid()], '{Counted,Counted}', '{1}', array['{}'::jsonb], '{}'",
    "no data": "array[gen_random_uuid()], '{Counted}', '{1}', null, '{}'",
    "ids that count from 0": "('[0:0]={' || gen_random_uuid() || '}')::uuid[], '{Counted}', '{1}', array['{}'::jsonb], '{}'",
    "no ids": "null, '{}', '{}', '{}', '{}'",
}


@pytest.mark.parametrize("events", UNLIKE.values(), ids=UNLIKE)
async def test_events_of_one_stream_in_unlike_arrays_are_refused(
    store: PostgresEventStore, app_url: str, events: str
) -> None:
    with pytest.raises(psycopg.Error, match="this is no append: "):
        executed(app_url, f"select append_to_stream('counter', 'a', 0, 9, {events})")
    assert await store.read() == []


NO_OBJECTS = {
    f"{what} in {call.partition('(')[0]}": call % values
    for call in (
        "append_event('counter', 'a', 0, 9, gen_random_uuid(), 'Counted', 1::smallint, '%s', '%s')",
        "append_to_stream('counter', 'a', 0, 9, array[gen_random_uuid()], '{Counted}', '{1}', array['%s'::jsonb], '%s')",
    )
    for what, values in {
        "a list as data": ("[1]", "{}"),
        "null as data": ("null", "{}"),
        "null as metadata": ("{}", "null"),
    }.items()
}


@pytest.mark.parametrize("call", NO_OBJECTS.values(), ids=NO_OBJECTS)
async def test_data_and_metadata_that_are_no_objects_are_refused(app_url: str, call: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="events_are_objects"):
        executed(app_url, f"select {call}")


_UNDO = (
    '{"command_id": "0199c0de-0000-7000-8000-00000000000a", "undoes": "0199c0de-0000-7000-8000-00000000000b", "role": "undo", '
    '"saga_id": "s", "run_id": "r", "saga_type": "S", "step": "x", "activity_type": "X", "task_queue": "q", "epoch": 1, '
    '"kind": "compensatable", "external": false}'
)
ANSWERS = {
    "record_command": "gen_random_uuid(), 'done', 'null', 's', 'S', 'x', 'X', 'q', null, '{}', null",
    "record_step": f"'{_UNDO}', 'done', 'null', '{{}}', null",
}


@pytest.mark.parametrize("types", ["null", "'{}'"])
@pytest.mark.parametrize("function", ANSWERS)
async def test_an_answer_to_a_command_is_not_recorded_without_its_events(
    app_url: str, function: str, types: str
) -> None:
    nothing = dict.fromkeys(("ids", "least", "most"), "'{}'")
    with pytest.raises(psycopg.Error, match="this is no append: "):
        executed(app_url, f"select {function}({ANSWERS[function]}, {arguments(types=types, **nothing)})")
    assert executed(app_url, "select from commands") == []
    no_events = dict.fromkeys(APPEND, "'{}'")
    executed(app_url, f"select {function}({ANSWERS[function]}, {arguments(**no_events)})")
    assert executed(app_url, "select status from commands") == [("done",)]


@pytest.mark.parametrize("name", ["put_in_stream", "put_in_streams"])
async def test_what_appends_without_its_turn_is_not_the_roles_to_call(app_url: str, name: str) -> None:
    assert executed(app_url, f"select has_function_privilege(to_regproc('{name}'), 'execute')") == [(False,)]


TAGGED = """'{"$tags": ["email:a"]}'"""
HAS_TURN = {
    "of one stream": f"append_to_stream('counter', 'b', 0, 9, array[gen_random_uuid()], '{{Taken}}', '{{1}}', array['{{}}'::jsonb], "
    f"{TAGGED}, true)",
    "of many": f"append_to_streams({arguments(event_types=repr('{Taken}'), metadata=f'array[{TAGGED}::jsonb]')}, true)",
}


@pytest.mark.parametrize("call", HAS_TURN.values(), ids=HAS_TURN)
async def test_who_says_that_it_has_its_turn_waits_for_a_decision_all_the_same(
    store: PostgresEventStore, app_url: str, call: str
) -> None:
    async with store.connection() as deciding, deciding.transaction():
        await claim(deciding)
        appending = asyncio.create_task(asyncio.to_thread(executed, app_url, f"select {call}"))
        done, _ = await asyncio.wait([appending], timeout=0.5)
        assert not done
    await appending
    assert [each.event_type for each in (await store.find(TAKEN)).events] == ["Taken", "Taken"]


async def claim(connection: Connection) -> None:
    """A decision that nobody else has the name."""
    await connection.execute(
        """select append_on_terms('{"query": [{"types": [], "tags": ["email:a"]}], "after": 0}', '{counter}', '{c}', '{0}', '{0}', """
        f"""'{{1}}', array[gen_random_uuid()], '{{Taken}}', '{{1}}', array['{{}}'::jsonb], array[{TAGGED}::jsonb])"""
    )


@pytest.mark.parametrize("function", OF_MANY)
async def test_tags_are_those_of_each_event_whatever_the_first_has(
    store: PostgresEventStore, app_url: str, function: str
) -> None:
    two = {
        "event_stream": "'{1,2}'",
        "event_ids": "array[gen_random_uuid(), gen_random_uuid()]",
        "event_types": "'{Counted,Taken}'",
        "schema_versions": "'{1,1}'",
        "data": "array['{}', '{}']::jsonb[]",
        "metadata": f"array['{{}}', {TAGGED}]::jsonb[]",
    }
    executed(app_url, f"select {function.format(arguments(**two))}")
    assert [each.stream for each in (await store.find(TAKEN)).events] == [B]


LACKING = {
    "any type": '{"query": [{"tags": ["email:a"]}], "after": 0}',
    "any tags": '{"query": [{"types": ["Taken"]}], "after": 0}',
    "anything": '{"query": [{}], "after": 0}',
    "from the beginning": '{"query": [{"types": [], "tags": ["email:a"]}]}',
    "from the beginning, without tags": '{"query": [{"types": [], "tags": []}], "after": null}',
}


@pytest.mark.parametrize("terms", LACKING.values(), ids=LACKING)
async def test_what_a_condition_does_not_say_is_any(store: PostgresEventStore, app_url: str, terms: str) -> None:
    await store.append(A, [Taken()], expect=ANY)
    with pytest.raises(psycopg.Error) as caught:
        executed(app_url, f"select append_on_terms('{terms}', {arguments()})")
    assert isinstance(translate(caught.value), BoundaryChanged)
    assert len(await store.read()) == 1


async def test_a_query_that_names_no_types_finds_those_of_any(store: PostgresEventStore, app_url: str) -> None:
    await store.append(A, [Taken()], expect=ANY)
    for query in ('[{"tags": ["email:a"]}]', '[{"types": [], "tags": ["email:a"]}]'):
        assert executed(app_url, f"select at_position from find_events('{query}', 0, 9)") == [(1,)]


NO_TERMS = {
    "no object": "[]",
    "a word that is not known": '{"qeury": []}',
    "no query": '{"query": null}',
    "no items": '{"query": {"tags": ["email:a"]}}',
    "no item": '{"query": ["email:a"]}',
    "a list in place of an item": '{"query": [[]]}',
    "a tag in place of tags": '{"query": [{"types": [], "tags": "email:a"}]}',
    "a type in place of types": '{"query": [{"types": "Taken", "tags": []}]}',
    "no tags": '{"query": [{"types": [], "tags": null}]}',
    "a tag that is none": '{"query": [{"types": [], "tags": [null]}]}',
    "a type that is none": '{"query": [{"types": [1], "tags": []}]}',
}


@pytest.mark.parametrize("terms", NO_TERMS.values(), ids=NO_TERMS)
async def test_a_condition_that_cannot_be_understood_is_refused(
    store: PostgresEventStore, app_url: str, terms: str
) -> None:
    with pytest.raises(psycopg.Error, match=r"the terms of an append are|a query is an array of items") as caught:
        executed(app_url, f"select append_on_terms('{terms}', {arguments()})")
    assert caught.value.sqlstate == "CA006"
    assert await store.read() == []
