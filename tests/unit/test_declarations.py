"""What a command, an event or an option may declare: the rest is refused where it stands, with everything that is wrong with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, Json, PlainSerializer, SecretStr, computed_field

from counteract import Compensatable, Event, Pivot, Retry
from counteract.commands import content_of
from counteract.errors import InvalidDeclaration
from counteract.saga.dispatcher import Options, Park

pytestmark = pytest.mark.unit

SECOND = timedelta(seconds=1)


class Computing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def gross(self) -> int:
        return 2 * self.price


class Camel(BaseModel):
    product_id: str = Field(alias="productId")


class Masked(BaseModel):
    card: SecretStr


@dataclass
class Halved:
    half: InitVar[int]


class Opaque:
    pass


ONE_WAY: list[tuple[Any, str]] = [
    (Annotated[int, Field(exclude=True)], "field has exclude=True"),
    (Annotated[int, Field(serialization_alias="cents")], "field is written as 'cents' and read as 'field'"),
    (Annotated[int, Field(validation_alias=AliasChoices("b", "c"), serialization_alias="a")], "read as 'b' or 'c' or"),
    (Json[list[int]], "field is Json"),
    (SecretStr, "field is a secret"),
    (list[Masked], "field.card is a secret"),
    (dict[str, Computing | None], "field.gross is a computed_field"),
    (dict[tuple[str, int], str], "field has keys that are no text"),
    (Iterable[int], "field is an iterator"),
    (Callable[[], int], "field is of a class that pydantic cannot read from JSON"),
    (Halved, "field.half is written or read, but not both"),
]


@pytest.mark.parametrize(("field", "why"), ONE_WAY)
def test_a_field_that_is_not_read_as_it_is_written_is_refused(field: Any, why: str) -> None:
    with pytest.raises(InvalidDeclaration) as refused:
        _with_annotation(field)

    assert why in str(refused.value)


def _with_annotation(field: Any) -> None:
    namespace = {"__annotations__": {"field": field}, "__module__": __name__}
    type("Made", (_Base,), namespace, service="declared", compensation="Unmake")


class _Base(Compensatable[None], service="declared", compensation="Unbase"):
    pass


@pytest.mark.parametrize("result", [Computing, list[Masked], Json[int]])
def test_a_result_that_is_not_read_as_it_is_written_is_refused(result: Any) -> None:
    with pytest.raises(TypeError, match="its result: "):

        class Made(Pivot[result], service="declared"):
            pass


def test_an_event_that_is_not_read_as_it_is_written_is_refused() -> None:
    with pytest.raises(InvalidDeclaration, match="card is a secret"):

        class Paid(Event):
            card: SecretStr


def test_a_field_of_a_class_that_is_declared_later_is_checked_once_it_is() -> None:
    class Waiting(Event):
        later: Later

    class Later(BaseModel):
        card: SecretStr

    with pytest.raises(InvalidDeclaration, match=r"later\.card is a secret"):
        Waiting.model_rebuild(_types_namespace={"Later": Later})


def test_a_serializer_of_ones_own_is_left_to_the_check_of_each_value() -> None:
    class Rounded(Event):
        price: Annotated[Decimal, PlainSerializer(lambda value: f"{value:.2f}")]

    assert Rounded(price=Decimal("1.25")).price == Decimal("1.25")


def test_a_command_with_aliases_is_read_by_them_and_by_its_own_names() -> None:
    class Aliased(Compensatable[Camel], service="declared", compensation="Unalias"):
        product_id: str = Field(alias="productId")

    aliased = Aliased.model_validate({"product_id": "a"})

    assert content_of(aliased) == {"productId": "a"}
    assert Aliased.model_validate(content_of(aliased)) == aliased


def test_a_computed_field_that_is_ignored_where_it_is_read_is_fine() -> None:
    class Lenient(BaseModel):
        price: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def gross(self) -> int:
            return 2 * self.price

    class Priced(Event):
        price: Lenient

    assert Priced(price=Lenient(price=1)).price.gross == 2


def test_everything_that_is_wrong_with_a_command_is_said_at_once() -> None:
    with pytest.raises(InvalidDeclaration) as refused:

        class Wrong(Compensatable[Masked], service=" ", compensation="", attempt_timeout=-SECOND, timeout=5):
            field: SecretStr

    assert len(refused.value.problems) == 6, refused.value


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"attempt_timeout": 0 * SECOND}, "attempt_timeout is 0 s: give at least 1 ms"),
        ({"timeout": -SECOND}, "timeout is -1 s"),
        ({"timeout": timedelta.max}, "give at most"),
        ({"undo_attempt_timeout": 0 * SECOND}, "undo_attempt_timeout is 0 s"),
        ({"attempt_timeout": 2 * SECOND, "timeout": SECOND}, "above the timeout of 1 s"),
    ],
)
def test_a_time_limit_that_no_server_takes_is_refused(options: Any, why: str) -> None:
    with pytest.raises(InvalidDeclaration, match=why):

        class Limited(Pivot[None], service="declared", **options):
            pass


@pytest.mark.parametrize("service", ["", "  ", "x" * 1001, "a\x00b"])
def test_a_service_that_can_be_no_task_queue_is_refused(service: str) -> None:
    with pytest.raises(InvalidDeclaration, match="service "):

        class Nowhere(Pivot[None], service=service):
            pass


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"initial": 15 * SECOND}, r"above the maximum of 0:00:10: give maximum="),
        ({"initial": 0 * SECOND}, "initial is 0 s"),
        ({"maximum": -SECOND}, "maximum is -1 s"),
        ({"backoff": 0.5}, "backoff is 0.5"),
        ({"backoff": float("nan")}, "backoff is nan"),
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": -1}, "attempts is -1"),
        ({"attempts": 2**31}, "attempts is 2147483648"),
    ],
)
def test_a_retry_that_no_server_takes_is_refused(options: Any, why: str) -> None:
    with pytest.raises(InvalidDeclaration, match=why):
        Retry(**options)


def test_a_park_without_time_is_refused() -> None:
    with pytest.raises(InvalidDeclaration, match="timeout is 0 s"):
        Park(timeout=timedelta())


def test_of_two_time_limits_the_one_that_is_left_out_goes_by_the_other() -> None:
    class Long(Pivot[None], service="declared", attempt_timeout=90 * SECOND):
        pass

    class Short(Pivot[None], service="declared", timeout=4 * SECOND):
        pass

    assert (Long.spec.attempt_timeout, Long.spec.timeout) == (90 * SECOND, 180 * SECOND)
    assert (Short.spec.attempt_timeout, Short.spec.timeout) == (4 * SECOND, 4 * SECOND)
    called = Options(attempt_timeout=45 * SECOND).applied_to(Short.spec)
    assert (called.attempt_timeout, called.timeout) == (45 * SECOND, 90 * SECOND)
    called = Options(timeout=2 * SECOND).applied_to(Long.spec)
    assert (called.attempt_timeout, called.timeout) == (2 * SECOND, 2 * SECOND)


def test_an_undo_has_the_time_of_its_step_or_its_own() -> None:
    class Usual(Compensatable[None], service="declared", compensation="Undo", attempt_timeout=2 * SECOND):
        pass

    class Slow(Compensatable[None], service="declared", compensation="Undo", undo_attempt_timeout=60 * SECOND):
        pass

    assert Usual.spec.undo_attempt_timeout == 2 * SECOND
    assert Slow.spec.undo_attempt_timeout == 60 * SECOND


def test_an_event_has_a_name_and_a_version_that_can_be_stored() -> None:
    with pytest.raises(InvalidDeclaration, match="version is 0: give one from 1 to 32767"):

        class Early(Event, version=0):
            pass

    with pytest.raises(InvalidDeclaration, match="name is ' '"):

        class Nameless(Event, name=" "):
            pass


IN_ORDER = """
from dataclasses import dataclass
from pydantic import BaseModel, SerializeAsAny
from counteract import Event
from counteract.store.postgres.append import encode_event
class Basket(BaseModel):
    fruits: frozenset[str]
class Crate(BaseModel):
    marks: set[str]
    crates: list["Crate"] = []
@dataclass
class Shelf:
    marks: set[tuple[str, int]]
class Filled(Event):
    baskets: list[Basket]
    marks: set[str] | str
    crate: SerializeAsAny[Crate]
    crates: dict[str, Crate]
    shelf: Shelf
words = {f"fruit {n}" for n in range(30)}
crate = Crate(marks=words, crates=[Crate(marks=words)])
pairs = {(word, 1) for word in words}
filled = Filled(baskets=[Basket(fruits=words)], marks=words, crate=crate, crates={"a": crate}, shelf=Shelf(pairs))
print(encode_event(filled))
"""


def test_sets_are_written_in_the_same_order_in_every_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", IN_ORDER], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(said) == 1, said
    assert "fruit 29" in said.pop()


def test_a_set_among_other_types_is_still_written_as_what_it_is() -> None:
    class Marked(Event):
        marks: set[int] | str
        at: datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)

    assert Marked(marks="ab", at=at).model_dump(mode="json") == {"marks": "ab", "at": "2026-01-01T00:00:00Z"}
    assert Marked(marks={3, 1}, at=at).model_dump(mode="json")["marks"] == [1, 3]
    assert Marked(marks={3, 1}, at=at).model_dump()["marks"] == {1, 3}
