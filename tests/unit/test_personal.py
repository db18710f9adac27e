"""Personal data is declared so that nobody overlooks that it may be missing, and sealed so that nobody can move it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from cryptography.exceptions import InvalidTag
from pydantic import BaseModel

from counteract import FORGOTTEN, Event, Forgotten, Personal
from counteract.errors import ConfigurationError, PersonalDataLocked
from counteract.store.sealing import MasterKey, SubjectKey

pytestmark = pytest.mark.unit

KEY = SubjectKey(bytes(32))
ZEROS = "A" * 43 + "="


class Contact(BaseModel):
    phone: Annotated[str | Forgotten, Personal("whom")]


def declare(**annotations: Any) -> type[Event]:
    return type("Registered", (Event,), {"__module__": __name__, "__annotations__": annotations})


def test_an_event_knows_its_personal_fields_and_whose_they_are() -> None:
    event = declare(customer_id=str, email=Annotated[str | Forgotten, Personal("customer_id")])
    assert event.personal == {"email": "customer_id"}


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({"email": Annotated[str | Forgotten, Personal("nobody")]}, "personal data of 'nobody', which must be another"),
        ({"id": str, "email": Annotated[str, Personal("id")]}, "must allow Forgotten, as in str | Forgotten"),
        (
            {"a": Annotated[str | Forgotten, Personal("b")], "b": Annotated[str | Forgotten, Personal("a")]},
            "not personal itself",
        ),
        ({"contact": Contact}, r"has the personal field Contact.phone inside.*mark the whole of it"),
        ({"contacts": list[Contact]}, "Contact.phone"),
        ({"id": str, "emails": list[Annotated[str | Forgotten, Personal("id")]]}, "inside"),
    ],
)
def test_a_mark_that_would_not_be_kept_is_refused_where_it_is_declared(annotations: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        declare(**annotations)


def test_what_is_sealed_opens_again() -> None:
    box = KEY.seal(b"content", b"context", uuid4())
    assert b"content" not in box
    assert KEY.open(box, b"context") == b"content"


def test_sealing_again_gives_the_same_box_and_another_event_another() -> None:
    event_id = uuid4()
    assert KEY.seal(b"content", b"context", event_id) == KEY.seal(b"content", b"context", event_id)
    assert KEY.seal(b"content", b"context", uuid4()) != KEY.seal(b"content", b"context", event_id)


def test_no_nonce_serves_two_contents() -> None:
    event_id = uuid4()
    nonces = {KEY.seal(content, b"context", event_id)[:12] for content in (b"", b"one", b"two")}
    assert len(nonces) == 3


def test_a_box_that_was_moved_or_changed_does_not_open() -> None:
    box = KEY.seal(b"content", b"Registered.email", uuid4())
    with pytest.raises(InvalidTag):
        KEY.open(box, b"Registered.name")
    with pytest.raises(InvalidTag):
        KEY.open(box[:-1] + bytes([box[-1] ^ 1]), b"Registered.email")


def test_an_earlier_master_key_still_unwraps_behind_a_new_one() -> None:
    earlier, later, key_id = MasterKey.new(), MasterKey.new(), uuid4()
    wrapped = MasterKey.parse(earlier).new_key(key_id)
    MasterKey.parse(f"{later}, {earlier}").unwrap(key_id, wrapped)
    with pytest.raises(PersonalDataLocked, match="another COUNTERACT_MASTER_KEY"):
        MasterKey.parse(later).unwrap(key_id, wrapped)


@pytest.mark.parametrize("text", ["", "short", "AAAA", "ä" * 43, f"{ZEROS},", f"{ZEROS}!"])
def test_a_master_key_that_is_none_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="32 bytes in base64") as caught:
        MasterKey.parse(text)
    assert not text or text not in str(caught.value)


def test_a_master_key_may_be_in_either_alphabet_of_base64() -> None:
    wrapped = MasterKey.parse("-_" * 21 + "8=").new_key(UUID(int=1))
    MasterKey.parse("+/" * 21 + "8=").unwrap(UUID(int=1), wrapped)


def test_forgotten_is_no_text_that_anybody_could_write() -> None:
    class Noted(Event):
        text: str | Forgotten

    for text in ("forgotten", '{"forgotten": true}', str(FORGOTTEN)):
        assert Noted.model_validate_json(Noted(text=text).model_dump_json()).text == text
    assert Noted.model_validate_json(Noted(text=FORGOTTEN).model_dump_json()).text == FORGOTTEN
