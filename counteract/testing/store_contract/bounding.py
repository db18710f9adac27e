"""An append that depends on what a query finds, in whatever streams."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from counteract.decider import Decider
from counteract.errors import AppendTooLarge, BoundaryChanged, InvalidEvent, WrongExpectedVersion
from counteract.messages import Event
from counteract.store.decide import decide_where
from counteract.store.expect import ANY, NO_STREAM, STREAM_EXISTS
from counteract.store.port import EventStore
from counteract.store.terms import Query, QueryItem
from counteract.testing.store_contract.counters import A, B, C, Counted, change, counter


class Taken(Event, tags=lambda event: event.marks):
    """An event of no decider."""

    marks: tuple[str, ...] = ("x",)


class Given(Event, tags=lambda event: event.marks):
    marks: tuple[str, ...] = ("x",)


ANYTHING = Query.of()
X, Y = Query.of(tags=["x"]), Query.of(tags=["y"])


class Bounding:
    pytestmark = pytest.mark.asyncio

    async def test_an_event_has_the_tags_that_its_class_says(self, store: EventStore) -> None:
        await store.append(A, [Taken(marks=("b", "a", "b")), Counted()], expect=ANY, metadata={"why": "z"})
        taken, counted = await store.read()
        assert (taken.tags, counted.tags) == (("b", "a"), ())
        assert taken.metadata["why"] == counted.metadata["why"] == "z"

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            (ANYTHING, [1, 2, 3, 4, 5]),
            (Query.of(Taken), [1, 2, 3]),
            (Query.of(Taken, Counted), [1, 2, 3, 5]),
            (Query.of("Unheard"), []),
            (X, [1, 3, 4]),
            (Query.of(Taken, tags=["x"]), [1, 3]),
            (Query.of(tags=["x", "y"]), [3]),
            (Query.of(tags=["y", "x"]), [3]),
            (Query.of(tags=["z"]), []),
            (X | Y, [1, 2, 3, 4]),
            (Query.of(Given, tags=["x"]) | Query.of(Counted), [4, 5]),
        ],
    )
    async def test_a_query_finds_events_by_type_and_tag(
        self, store: EventStore, query: Query, found: list[int]
    ) -> None:
        events = [Taken(), Taken(marks=("y",)), Taken(marks=("x", "y")), Given(), Counted()]
        for number, event in enumerate(events):
            await store.append(counter(str(number % 2)), [event], expect=ANY)
        everything = await store.read()
        wanted = [everything[number - 1] for number in found]
        assert (await store.find(query)).events == wanted
        assert await store.read(query=query) == wanted
        assert await store.read(query=query, backwards=True, limit=2) == wanted[::-1][:2]
        assert (
            await store.read(query=query, after=everything[1].position, limit=1)
            == [each for each in wanted if each.position > everything[1].position][:1]
        )

    async def test_a_query_does_not_go_with_other_selections(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="selects by itself"):
            await store.read(query=X, category="counter")

    async def test_what_was_found_is_all_up_to_its_position(self, store: EventStore) -> None:
        await store.append(A, [Taken()], expect=ANY)
        appended = await store.append(B, [Counted()], expect=ANY)
        found = await store.find(X)
        assert found.since.position >= appended.position
        assert (await store.find(X, after=found.since.position)).events == []

    @pytest.mark.parametrize(
        "query", [ANYTHING, Query.of(Taken), X, Query.of(Taken, tags=["x"]), Query.of(tags=["x", "y"]), Y | X]
    )
    async def test_an_append_is_refused_where_the_query_finds_something_since(
        self, store: EventStore, query: Query
    ) -> None:
        found = await store.find(query)
        taken = await store.append(B, [Taken(marks=("x", "y"))], expect=ANY)
        with pytest.raises(BoundaryChanged, match=f"at position {taken.position}") as caught:
            await store.append(A, [Counted()], expect=ANY, unless=found.since)
        assert caught.value.position == taken.position
        assert (await store.read_stream(A)) == []

    @pytest.mark.parametrize(
        "query",
        [Query.of(Given), Query.of(tags=["z"]), Query.of(Given, tags=["x"]), Query.of(tags=["x", "z"]), X | ANYTHING],
    )
    async def test_an_append_goes_through_where_the_query_finds_nothing_since(
        self, store: EventStore, query: Query
    ) -> None:
        await store.append(B, [Taken(marks=("x", "y"))], expect=ANY)
        found = await store.find(query)
        if query.items[-1].types or query.items[-1].tags:
            await store.append(B, [Taken(marks=("x", "y"))], expect=ANY)
        appended = await store.append(A, [Counted(), Taken()], expect=ANY, unless=found.since)
        assert appended.version == 2

    async def test_the_streams_of_such_an_append_are_checked_as_well(self, store: EventStore) -> None:
        with pytest.raises(WrongExpectedVersion):
            await store.append(A, [Taken()], expect=STREAM_EXISTS, unless=X.since(0))
        assert await store.read() == []

    async def test_such_an_append_goes_to_many_streams_or_none(self, store: EventStore) -> None:
        changes = [change(A, NO_STREAM, Taken()), change(B, NO_STREAM, Counted()), change(C, NO_STREAM)]
        answers = await store.append_many(changes, unless=X.since(0))
        assert [(each.version, len(each.positions)) for each in answers] == [(1, 1), (1, 1), (0, 0)]
        with pytest.raises(BoundaryChanged):
            await store.append_many([change(C, NO_STREAM, Counted())], unless=X.since(0))

    @pytest.mark.parametrize("query", [X, ANYTHING])
    async def test_such_an_append_repeated_is_what_it_was(self, store: EventStore, query: Query) -> None:
        ids = [uuid4(), uuid4()]
        first = await store.append(A, [Taken(), Taken()], expect=ANY, event_ids=ids, unless=query.since(0))
        await store.append(B, [Taken()], expect=ANY)
        again = await store.append(A, [Taken(), Taken()], expect=ANY, event_ids=ids, unless=query.since(0))
        assert again == first

    async def test_without_events_it_only_checks(self, store: EventStore) -> None:
        assert (await store.append(A, [], expect=ANY, unless=X.since(0))).version == 0
        await store.append(B, [Taken()], expect=ANY)
        with pytest.raises(BoundaryChanged):
            await store.append(A, [], expect=ANY, unless=X.since(0))

    @pytest.mark.parametrize("query", [X, Query.of(Taken), ANYTHING, Query.of(tags=["x", "y"]) | Query.of(Taken)])
    async def test_of_many_that_saw_the_same_one_succeeds(self, store: EventStore, query: Query) -> None:
        async def take(number: int) -> bool:
            try:
                await store.append(counter(str(number)), [Taken(marks=("x", "y"))], expect=ANY, unless=query.since(0))
            except BoundaryChanged:
                return False
            return True

        assert sum(await asyncio.gather(*(take(number) for number in range(8)))) == 1
        assert len(await store.read()) == 1

    async def test_those_with_other_tags_all_succeed(self, store: EventStore) -> None:
        async def take(number: int) -> None:
            tag = f"number:{number}"
            query = Query.of(Taken, tags=[tag])
            await store.append(counter(str(number)), [Taken(marks=(tag, "all"))], expect=ANY, unless=query.since(0))

        await asyncio.gather(*(take(number) for number in range(8)))
        assert len((await store.find(Query.of(tags=["all"]))).events) == 8

    async def test_decisions_by_what_a_query_finds_are_made_anew_while_others_are_faster(
        self, store: EventStore
    ) -> None:
        class Numbered(Event, tags=lambda _: ["numbers"]):
            amount: int

        totals: Decider[int, Numbered] = Decider(
            "contract-total", initial=0, evolve=lambda total, event: total + event.amount, events=Numbered
        )

        async def add(number: int) -> None:
            await decide_where(
                store,
                Query.of(Numbered, tags=["numbers"]),
                totals,
                totals.stream(str(number)),
                lambda total: [Numbered(amount=1)] if total < 3 else [],
                attempts=50,
            )

        await asyncio.gather(*(add(number) for number in range(6)))
        assert len(await store.read()) == 3

    @pytest.mark.parametrize(
        ("mark", "why"),
        [("", "a tag is empty"), ("a\x00", "U\\+0000"), ("x" * 1025, "1025 bytes"), ("\ud800", "not be written")],
    )
    async def test_what_no_tag_can_be_is_refused(self, store: EventStore, mark: str, why: str) -> None:
        with pytest.raises(InvalidEvent):
            await store.append(A, [Taken.model_construct(marks=(mark,))], expect=ANY)
        with pytest.raises(InvalidEvent):
            Query.of(tags=[mark])
        assert await store.read() == []

    async def test_tags_are_told_apart_in_every_byte(self, store: EventStore) -> None:
        names = ["a", "A", "a ", "\u00e9", "e\u0301", "a:b", '"', "\\", "%", "'", "\U0001f600", "x" * 1024]
        for name in names:
            await store.append(A, [Taken(marks=(name,))], expect=ANY)
        found = [await store.find(Query.of(tags=[name])) for name in names]
        assert [[event.tags for event in each.events] for each in found] == [[(name,)] for name in names]

    async def test_64_tags_of_an_event_are_the_most(self, store: EventStore) -> None:
        marks = tuple(str(number) for number in range(65))
        with pytest.raises(InvalidEvent, match="65 tags, more than 64"):
            await store.append(A, [Taken(marks=marks)], expect=ANY)
        await store.append(A, [Taken(marks=marks[:64])], expect=ANY)
        assert len((await store.find(Query.of(tags=marks[:64]))).events) == 1

    async def test_256_tags_of_an_append_are_the_most(self, store: EventStore) -> None:
        events = [Taken(marks=tuple(f"{number}-{each}" for each in range(32))) for number in range(9)]
        with pytest.raises(AppendTooLarge, match="at most 256 different tags"):
            await store.append(A, events, expect=ANY)
        assert (await store.append(A, events[:8], expect=ANY)).version == 8

    async def test_tags_and_items_of_a_query_are_256_together(self, store: EventStore) -> None:
        def query(items: int) -> Query:
            return Query(tuple(QueryItem(tags=(str(each),)) for each in range(items)))

        events = [Taken(marks=tuple(f"{number}-{each}" for each in range(50))) for number in range(4)]
        with pytest.raises(AppendTooLarge):
            await store.append(A, events, expect=ANY, unless=query(57).since(0))
        assert (await store.append(A, events, expect=ANY, unless=query(56).since(0))).version == 4
        with pytest.raises(AppendTooLarge):
            await store.find(query(257))
        assert (await store.find(query(256))).events == []

    async def test_a_query_without_items_is_none(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="a query has no items"):
            await store.read(query=Query(()))

    async def test_metadata_cannot_give_tags(self, store: EventStore) -> None:
        with pytest.raises(InvalidEvent, match=r"\$tags"):
            await store.append(A, [Counted()], expect=ANY, metadata={"$tags": ["x"]})
