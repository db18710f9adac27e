"""Old versions of events are read as today's class, and declarations that would leave some unread are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from counteract import Decider, Event
from counteract.decoding import decode_event, readers_of
from counteract.errors import ConfigurationError, UnknownEventType, UnreadableEvent
from counteract.messages import Upcaster
from tests.counters import Counted

pytestmark = pytest.mark.unit


def with_unit(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "unit": "piece"}


def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"unit": data["unit"], "cents": 100 * data["amount"]}


class Priced(Event, version=3, upcasters={1: with_unit, 2: in_cents}):
    unit: str
    cents: int


def read(event_type: type[Event], version: int, data: str) -> Event:
    readers, problems = readers_of([event_type])
    assert not problems
    return decode_event(readers, event_type.event_type, version, data)


@pytest.mark.parametrize(
    ("version", "data"),
    [(1, '{"amount": 2}'), (2, '{"amount": 2, "unit": "piece"}'), (3, '{"cents": 200, "unit": "piece"}')],
)
def test_every_stored_version_is_read_as_todays_class(version: int, data: str) -> None:
    assert read(Priced, version, data) == Priced(unit="piece", cents=200)


def test_a_version_from_the_future_is_an_error_that_names_what_is_known() -> None:
    with pytest.raises(UnknownEventType, match="Priced v4, only for v1, v2, v3"):
        read(Priced, 4, "{}")


def test_upcast_data_that_does_not_fit_names_the_stored_version() -> None:
    with pytest.raises(UnreadableEvent, match=r"Priced v2 does not fit.*cents") as caught:
        read(Priced, 2, '{"amount": "secret", "unit": "piece"}')
    assert "secret" not in str(caught.value)


def test_upcast_data_that_is_no_json_for_python_is_unreadable() -> None:
    with pytest.raises(UnreadableEvent, match=r"Priced v1 does not fit its class: event: .* more than 4300 digits"):
        read(Priced, 1, f'{{"price": {"1" * 5000}}}')


def test_an_upcaster_that_fails_is_named_without_what_it_read() -> None:
    with pytest.raises(UnreadableEvent, match=r"Priced v2.*its upcaster from version 2 raised KeyError") as caught:
        read(Priced, 2, '{"secret": 1}')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "upcasters"),
    [(3, {1: with_unit}), (3, {2: with_unit, 4: with_unit}), (2, {2: with_unit}), (1, {0: with_unit})],
    ids=["a hole", "beyond", "itself", "before the first"],
)
def test_a_chain_with_a_hole_is_refused_where_it_is_declared(version: int, upcasters: Mapping[int, Upcaster]) -> None:
    with pytest.raises(TypeError, match=r"without holes, up to \d"):
        type("Broken", (Event,), {"__module__": __name__}, version=version, upcasters=upcasters)


class Sized2(Event, name="Sized", version=2):
    size: int


class Sized3(Event, name="Sized", version=3, upcasters={2: lambda data: data}):
    size: int


class Sized(Event):
    pass


def decider(*events: Any) -> Decider[Any, Any]:
    union: Any = events[0]
    for each in events[1:]:
        union = union | each
    evolve: Callable[[int, Any], int] = lambda total, _: total + 1  # noqa: E731 - one expression, and typed
    return Decider("thing", initial=0, evolve=evolve, events=union)


def test_a_version_that_nothing_reads_is_noticed_at_start() -> None:
    with pytest.raises(ConfigurationError, match=r"Sized v2 leaves v1 unread: give it upcasters=\{1: …\}"):
        decider(Sized2, Counted)


def test_a_class_for_each_version_reads_them_all() -> None:
    assert sorted(decider(Sized, Sized2).readers) == [("Sized", 1), ("Sized", 2)]


def test_a_version_that_two_classes_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Sized2 and Sized3 both read what is stored as Sized v2"):
        decider(Sized, Sized2, Sized3)
