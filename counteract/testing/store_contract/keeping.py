"""Data comes back as it was stored: numbers beyond 2^53, text of every kind, and events of some size."""

from __future__ import annotations

import math
from typing import Any

import pytest

from counteract.store.expect import ANY
from counteract.store.port import EventStore
from counteract.testing.store_contract.counters import A, Measured, Noted

WHOLE = [2**53 - 1, 2**53 + 1, -(2**53) - 1, 2**63, 2**64 + 1, 10**40 + 1, 10**4299 + 1, -(10**4299)]
RATIOS = [
    0.1,
    0.1 + 0.2,
    1 / 3,
    2.0**53,
    2.0**53 + 2,
    1e22,
    1e23,
    -1.5e300,
    1.7976931348623157e308,
    2.2250738585072014e-308,
    5e-324,
]
TEXT = [
    "",
    " ",
    "\u00fcn\u00ef",
    "\u2028\u2029",
    "\\u0000",
    "\\ud800",
    "\x01\x1f\x7f",
    "\ufffe\uffff",
    "\U0010ffff",
    "null",
    "NULL",
    '{"\\",NULL}',
]


class Keeping:
    pytestmark = pytest.mark.asyncio

    @pytest.mark.parametrize("number", WHOLE, ids=lambda number: f"{number.bit_length()} bits")
    async def test_a_whole_number_of_any_size_is_kept_exactly(self, store: EventStore, number: int) -> None:
        await store.append(A, [Measured(whole=number)], expect=ANY, metadata={"number": number})
        (event,) = await store.read()
        assert Measured.model_validate_json(event.data).whole == number
        assert event.metadata == {"number": number}

    @pytest.mark.parametrize("number", RATIOS)
    async def test_a_floating_point_number_is_kept_to_its_last_bit(self, store: EventStore, number: float) -> None:
        await store.append(A, [Measured(ratio=number)], expect=ANY, metadata={"number": number})
        (event,) = await store.read()
        assert Measured.model_validate_json(event.data).ratio == number
        assert float(event.metadata["number"]) == number

    async def test_a_negative_zero_is_zero(self, store: EventStore) -> None:
        await store.append(A, [Measured(ratio=-0.0)], expect=ANY)
        assert math.fabs(Measured.model_validate_json((await store.read())[0].data).ratio) == 0

    @pytest.mark.parametrize("text", TEXT, ids=ascii)
    async def test_text_is_kept_as_it_is(self, store: EventStore, text: str) -> None:
        await store.append(A, [Noted(note={text: [text]})], expect=ANY, metadata={text: text})
        (event,) = await store.read()
        assert Noted.model_validate_json(event.data).note == {text: [text]}
        assert event.metadata == {text: text}

    @pytest.mark.parametrize("value", [None, True, False, [], {}, [None, 1.5, {"deep": []}]], ids=ascii)
    async def test_every_kind_of_json_is_kept(self, store: EventStore, value: Any) -> None:
        await store.append(A, [Noted(note=value)], expect=ANY, metadata={"value": value})
        (event,) = await store.read()
        assert Noted.model_validate_json(event.data).note == value
        assert event.metadata == {"value": value}

    async def test_nesting_of_198_levels_within_an_event_is_kept(self, store: EventStore) -> None:
        await store.append(A, [Noted(note=nested(198))], expect=ANY)
        assert Noted.model_validate_json((await store.read())[0].data).note == nested(198)

    async def test_an_event_of_almost_a_mebibyte_is_kept(self, store: EventStore) -> None:
        note = "\u00e9" * (512 * 1024 - 10)
        await store.append(A, [Noted(note=note)], expect=ANY)
        assert Noted.model_validate_json((await store.read())[0].data).note == note


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value
