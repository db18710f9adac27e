"""One row has one key, however its handlers spell it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    CHAR,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Interval,
    LargeBinary,
    Numeric,
    Text,
    Time,
    TypeDecorator,
    Uuid,
)
from sqlalchemy import Enum as Choice
from sqlalchemy.dialects.postgresql import CITEXT, TIMESTAMP

from counteract import Recorded
from counteract.errors import ConfigurationError
from counteract.messages import StreamId
from counteract.projections import Delete, Increment, Operation, Patch, Projection, Put
from counteract.projections.coalescing import Adjusted
from tests.coalescing import coalesce
from tests.counters import Counted
from tests.unit.operations import BLANK, NAMES, ROWS, VALUES, Row, one_by_one, together

pytestmark = pytest.mark.unit

ID = UUID("0190c0de-0000-7000-8000-00000000abcd")
SUMMER = timezone(timedelta(hours=2))
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


class Colour(Enum):
    RED = "r"


class Size(StrEnum):
    LARGE = "large"


class Rank(IntEnum):
    FIRST = 1


class Own(TypeDecorator[str]):
    impl = Text
    cache_ok = True


def said(operation: Operation, *types: Any) -> Operation:
    """What comes of the operation in a projection with a key of such types."""
    columns = [Column(f"part_{place}", each, primary_key=True) for place, each in enumerate(types)]
    projection = Projection("keyed", *columns, *(Column(name, BigInteger) for name in BLANK))
    projection.on(Counted)(lambda recorded: operation)
    (only,) = projection.operations(Recorded.of(Counted(), StreamId("counter", "a")))
    assert isinstance(only, Operation)
    return only


def key_of(key: Any, *types: Any) -> Any:
    operation = said(Delete(key), *types)
    assert isinstance(operation, Delete)
    return operation.key


@pytest.mark.parametrize(
    ("type_", "spelled", "key"),
    [
        (Uuid, str(ID), ID),
        (Uuid, str(ID).upper(), ID),
        (Uuid, ID.hex, ID),
        (Uuid(as_uuid=False), ID, str(ID)),
        (Uuid(as_uuid=False), str(ID).upper(), str(ID)),
        (Text, ("a",), "a"),
        (Text, Size.LARGE, "large"),
        (Text, ID, str(ID)),
        (Text, 7, "7"),
        (Text, date(2026, 11, 27), "2026-11-27"),
        (CHAR(4), "a ", "a"),
        (BigInteger, True, 1),
        (BigInteger, Rank.FIRST, 1),
        (BigInteger, Decimal("1.0"), 1),
        (BigInteger, 1.0, 1),
        (BigInteger, "01", 1),
        (Boolean, 1, True),
        (Numeric(10, 2), 1, Decimal("1.00")),
        (Numeric(10, 2), Decimal("1.0"), Decimal("1.00")),
        (Numeric, Decimal("100.00"), Decimal("100")),
        (Numeric, Decimal("-0.0"), Decimal("0")),
        (Numeric(10), 7, Decimal("7")),
        (Double, 1, 1.0),
        (Double, -0.0, 0.0),
        (REAL, 0.1, 0.10000000149011612),
        (Date, "2026-11-27", date(2026, 11, 27)),
        (DateTime(timezone=True), NOON.astimezone(SUMMER), NOON),
        (DateTime(timezone=True), NOON.replace(tzinfo=None), NOON),
        (DateTime(timezone=True), "2026-11-27T12:00:00Z", NOON),
        (DateTime(timezone=True), date(2026, 11, 27), NOON.replace(hour=0)),
        (DateTime, NOON.astimezone(SUMMER), NOON.replace(tzinfo=None)),
        (LargeBinary, bytearray(b"a"), b"a"),
        (Choice(Colour), "RED", Colour.RED),
        (Choice("red", "blue", name="colours"), "red", "red"),
        (Own, "a", "a"),
    ],
)
def test_a_key_is_brought_to_one_spelling(type_: Any, spelled: Any, key: Any) -> None:
    found = key_of(spelled, type_)
    assert (type(found), str(found)) == (type(key), str(key))
    assert key_of(found, type_) == found


@pytest.mark.parametrize(
    ("type_", "key", "wanted"),
    [
        (Uuid, "ann", "a UUID"),
        (Uuid, 7, "a UUID"),
        (Text, None, "a str"),
        (Text, b"a", "a str"),
        (Text, Colour.RED, "a str"),
        (BigInteger, 1.5, "an int"),
        (BigInteger, "one", "an int"),
        (Boolean, 2, "a bool"),
        (Numeric(10, 2), Decimal("1.001"), "a Decimal with at most 2 decimals"),
        (Numeric, Decimal("NaN"), "a Decimal"),
        (Double, float("nan"), "a float"),
        (Double, 2**53 + 1, "a float"),
        (Date, NOON, "a date"),
        (DateTime, "noon", "a datetime"),
        (TIMESTAMP(precision=0), NOON.replace(microsecond=1), "a datetime with at most 0 decimals of a second"),
        (Time, NOON, "a time"),
        (Interval, 7, "a timedelta"),
        (LargeBinary, "a", "a bytes"),
        (Choice(Colour), "r", "a Colour"),
    ],
)
def test_a_key_that_would_lose_something_is_refused_with_the_type_to_give(type_: Any, key: Any, wanted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        key_of(key, type_)
    assert "projection 'keyed', handler of Counted" in str(caught.value)
    assert f"the key column 'part_0' takes {wanted}, and not {key!r}: convert it in the handler" in str(caught.value)


def test_each_part_of_a_key_is_brought_to_its_own_spelling() -> None:
    assert key_of((str(ID), True), Uuid, BigInteger) == (ID, 1)


def test_what_is_spelled_as_it_should_be_stays_the_object_that_it_was() -> None:
    operation = Put((ID, 1), {"count": 1})
    assert said(operation, Uuid, BigInteger) is operation


@pytest.mark.parametrize("spelled", [ID, (ID,), str(ID), str(ID).upper()])
def test_a_row_elsewhere_has_one_id_too(spelled: Any) -> None:
    assert Projection("keyed", Column("id", Uuid, primary_key=True)).layout.id_of(spelled) == str(ID)


def test_a_row_elsewhere_has_one_id_for_one_number() -> None:
    layout = Projection(
        "keyed", Column("of", Text, primary_key=True), Column("price", Numeric, primary_key=True)
    ).layout
    assert {layout.id_of(("a", each)) for each in (Decimal("1.0"), Decimal("1.00"), 1)} == {"a:1"}


def test_a_key_column_without_case_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'name' tells no case apart, .*: make it Text"):
        Projection("keyed", Column("name", CITEXT, primary_key=True))


SPELLED = st.sampled_from([ID, (ID,), str(ID), (str(ID),), str(ID).upper(), ID.hex])
OPERATIONS = st.one_of(
    st.builds(Put, SPELLED, ROWS),
    st.builds(Patch, SPELLED, ROWS),
    st.builds(Delete, SPELLED),
    st.builds(Increment, SPELLED, NAMES, VALUES),
)


@given(
    before=st.none() | st.fixed_dictionaries({name: VALUES | st.none() for name in BLANK}),
    operations=st.lists(OPERATIONS),
)
def test_operations_on_one_row_come_to_one_change_however_it_is_spelled(
    before: Row | None, operations: list[Operation]
) -> None:
    expected = before
    for operation in operations:
        expected = one_by_one(expected, operation)
    changes = coalesce([said(operation, Uuid) for operation in operations], BLANK)
    assert changes.keys() <= {ID}
    assert together(before, changes.get(ID, Adjusted())) == expected
