"""An event that could not be stored, or not be read again, is refused with a reason, and nothing of it is left."""

from __future__ import annotations

from typing import Any

import pytest

from counteract.errors import InvalidEvent
from counteract.messages import StreamId
from counteract.store.expect import ANY
from counteract.store.moment import AtVersion
from counteract.store.port import EventStore
from counteract.testing.store_contract.counters import A, B, Counted, Noted, change, counters
from counteract.testing.store_contract.keeping import nested

VALUES = [
    pytest.param("nul \x00", r"\\u0000.*leave it out", id="NUL"),
    pytest.param({"key\x00": 1}, r"\\u0000", id="NUL in a key"),
    pytest.param(float("nan"), "NaN", id="NaN"),
    pytest.param([{"deep": float("inf")}], "infinite", id="infinity"),
    pytest.param((float("-inf"),), "infinite", id="negative infinity"),
    pytest.param("lone \ud800", "no UTF-8", id="half a surrogate pair"),
    pytest.param({"\udfff": 1}, "no UTF-8", id="the other half in a key"),
    pytest.param(object(), "not JSON", id="no JSON"),
    pytest.param(10**4300, "number out of range.*as text", id="more digits than are read again"),
    pytest.param(nested(201), "recursion limit.*nest it less", id="deeper than is read again"),
    pytest.param(nested(999), "depth", id="deeper than is written"),
    pytest.param("\u00e9" * 524_288, "1048[0-9]{3} bytes, more than 1048576.*raise max_event_bytes", id="too large"),
]

IDS = [
    pytest.param("\x00", r"\\u0000", id="NUL"),
    pytest.param("\ud800", "no UTF-8", id="half a surrogate pair"),
    pytest.param("\u00e9" * 513, "1026 bytes, more than 1024", id="too long"),
]


class Refusing:
    pytestmark = pytest.mark.asyncio

    @pytest.mark.parametrize(("value", "why"), VALUES)
    async def test_an_event_that_could_not_be_read_again_is_refused(
        self, store: EventStore, value: Any, why: str
    ) -> None:
        with pytest.raises(InvalidEvent, match=f"Noted v1 .*{why}"):
            await store.append_many([change(A, ANY, Counted()), change(B, ANY, Noted(note=value))])
        assert await store.read() == []

    @pytest.mark.parametrize(("value", "why"), VALUES)
    async def test_metadata_is_held_to_the_same(self, store: EventStore, value: Any, why: str) -> None:
        with pytest.raises(InvalidEvent, match=f"metadata .*{why}"):
            await store.append(A, [Counted()], expect=ANY, metadata={"value": value})
        assert await store.read() == []

    @pytest.mark.parametrize(("text", "why"), IDS)
    async def test_an_id_that_could_not_be_found_again_is_refused(self, store: EventStore, text: str, why: str) -> None:
        for stream in (counters.stream(text), StreamId(text, "a")):
            with pytest.raises(InvalidEvent, match=why):
                await store.append(stream, [Counted()], expect=ANY)
            with pytest.raises(InvalidEvent, match=why):
                await store.read_stream(stream)
        for moment in (None, AtVersion(0)):
            with pytest.raises(InvalidEvent, match=why):
                await store.load(counters, text, at=moment)
        assert await store.read() == []

    @pytest.mark.parametrize(("text", "why"), IDS)
    async def test_a_correlation_id_that_could_not_be_found_again_is_refused(
        self, store: EventStore, text: str, why: str
    ) -> None:
        with pytest.raises(InvalidEvent, match=f"correlation_id .*{why}"):
            await store.append(A, [Counted()], expect=ANY, metadata={"correlation_id": text})

    async def test_ids_of_1024_bytes_are_taken(self, store: EventStore) -> None:
        stream = StreamId("\u00e9" * 512, "".join(map(chr, range(256, 768))))
        await store.append(stream, [Counted()], expect=ANY, metadata={"correlation_id": stream.aggregate_id})
        assert len(await store.read_stream(stream)) == 1

    async def test_a_refusal_shows_nothing_of_the_content(self, store: EventStore) -> None:
        for value in ("secret\x00", "secret\ud800", ["secret", float("nan")], "secret" * 200_000):
            with pytest.raises(InvalidEvent) as caught:
                await store.append(A, [Noted(note=value)], expect=ANY)
            assert "secret" not in str(caught.value)

    async def test_after_a_refusal_the_store_goes_on(self, store: EventStore) -> None:
        with pytest.raises(InvalidEvent):
            await store.append(A, [Noted(note="\x00")], expect=ANY)
        assert (await store.append(A, [Counted()], expect=ANY)).version == 1
