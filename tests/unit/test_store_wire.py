"""What goes to the append_events function, and what is refused before it does."""

from __future__ import annotations

from typing import Any

import pytest

from counteract import Event
from counteract.errors import InvalidEvent
from counteract.store import ANY, NO_STREAM, STREAM_EXISTS, ExactVersion, Expect
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import append_arguments, encode_event
from tests.counters import Counted, CounterReset, counter, counters

pytestmark = pytest.mark.unit


class Noted(Event):
    note: Any


def test_events_name_their_streams_by_index_from_one() -> None:
    changes = [StreamChange(counter("a"), 0, 0, [Counted(), Counted()]), StreamChange(counter("b"), 3, 3, [Counted()])]
    types, ids, least, most, streams, *_ = append_arguments(changes, {})
    assert (types, ids, least, most) == (["counter", "counter"], ["a", "b"], [0, 3], [0, 3])
    assert streams == [1, 1, 2]


def test_every_event_gets_an_id_of_its_own_and_the_same_metadata() -> None:
    arguments = append_arguments([StreamChange(counter("a"), 0, 0, [Counted(), Counted()])], {"saga": "s"})
    assert len(set(arguments[5])) == 2
    assert arguments[9] == ['{"saga":"s"}', '{"saga":"s"}']


def test_a_stream_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        append_arguments([StreamChange(counter("a"), 0, 0), StreamChange(counter("a"), 1, 1)], {})


def test_ids_that_do_not_match_the_events_are_refused() -> None:
    with pytest.raises(ValueError, match="0 event ids for 1 events"):
        append_arguments([StreamChange(counter("a"), 0, 0, [Counted()])], {}, [])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nul \x00", "u0000"),
        ({"deep": ["\x00"]}, "u0000"),
        ({"key\x00": 1}, "u0000"),
        (float("nan"), "NaN"),
        ([{"deep": float("inf")}], "NaN"),
        ("lone \ud800", "no UTF-8"),
        (object(), "not JSON"),
    ],
)
def test_what_postgresql_cannot_keep_is_refused(value: Any, why: str) -> None:
    with pytest.raises(InvalidEvent, match=why):
        encode_event(Noted(note=value))


@pytest.mark.parametrize("value", ["\\u0000 spelled out", None, [None, 1.5], "null"])
def test_what_only_looks_like_it_is_accepted(value: Any) -> None:
    assert Noted.model_validate_json(encode_event(Noted(note=value))).note == value


def test_the_limit_counts_bytes_not_characters() -> None:
    assert encode_event(Noted(note="é" * 100), max_bytes=211)
    with pytest.raises(InvalidEvent, match="211 bytes, more than 210"):
        encode_event(Noted(note="é" * 100), max_bytes=210)


def test_metadata_is_held_to_the_same_rules() -> None:
    with pytest.raises(InvalidEvent, match="metadata"):
        append_arguments([StreamChange(counter("a"), 0, 0, [Counted()])], {"rate": float("nan")})


def test_what_only_sealing_may_write_is_refused() -> None:
    class Free(Event):
        content: dict[str, Any]

    with pytest.raises(InvalidEvent, match=r"\$sealed"):
        encode_event(Free(content={"$sealed": {"key": "k", "box": "b"}}))
    encode_event(Free(content={"$sealed": 1, "and": "more"}))


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        (NO_STREAM, "no stream"),
        (STREAM_EXISTS, "an existing stream"),
        (ANY, "any version"),
        (ExactVersion(3), "version 3"),
        (Expect(1, 2), "version 1 to 2"),
    ],
)
def test_an_expectation_says_what_it_means(expect: Expect, words: str) -> None:
    assert str(expect) == words


def test_a_reset_counter_counts_from_nothing() -> None:
    assert counters.fold([Counted(amount=5), CounterReset(), Counted()]) == 1
