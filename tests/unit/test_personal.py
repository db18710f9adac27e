"""Personal data is declared so that nobody overlooks that it may be missing, and sealed so that nobody can move it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag
from pydantic import BaseModel

from counteract import FORGOTTEN, Event, Forgotten, Personal, Pivot
from counteract.errors import ConfigurationError, InvalidDeclaration, PersonalDataLocked
from counteract.store.master_key import MASTER_KEY_FILE_VARIABLE, MASTER_KEY_VARIABLE, MasterKey, SubjectKey

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


async def test_an_earlier_master_key_still_unwraps_behind_a_new_one() -> None:
    earlier, later = MasterKey.new(), MasterKey.new()
    wrapped = await MasterKey.parse(earlier).wrap(b"secret", b"context")
    assert await MasterKey.parse(f"{later}, {earlier}").unwrap(wrapped, b"context") == b"secret"
    with pytest.raises(PersonalDataLocked, match="another COUNTERACT_MASTER_KEY"):
        await MasterKey.parse(later).unwrap(wrapped, b"context")
    with pytest.raises(PersonalDataLocked):
        await MasterKey.parse(earlier).unwrap(wrapped, b"another")


def test_a_master_key_has_a_name_of_its_own_that_is_no_part_of_it() -> None:
    one, other = MasterKey.new(), MasterKey.new()
    names = {MasterKey.parse(each).name for each in (one, f"{one},{other}", other)}
    assert len(names) == 2
    assert not any(name.removeprefix("master-") in (one, other) for name in names)


@pytest.mark.parametrize("text", ["", "short", "AAAA", "ä" * 43, f"{ZEROS},", f"{ZEROS}!"])
def test_a_master_key_that_is_none_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="32 bytes in base64") as caught:
        MasterKey.parse(text)
    assert not text or text not in str(caught.value)


async def test_a_master_key_may_be_in_either_alphabet_of_base64() -> None:
    wrapped = await MasterKey.parse("-_" * 21 + "8=").wrap(b"secret", b"context")
    assert await MasterKey.parse("+/" * 21 + "8=").unwrap(wrapped, b"context") == b"secret"


def test_a_master_key_is_read_from_a_file_or_the_environment_but_not_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, key = tmp_path / "key", MasterKey.new()
    file.write_text(f"{key}\n")
    monkeypatch.setenv(MASTER_KEY_FILE_VARIABLE, str(file))
    monkeypatch.delenv(MASTER_KEY_VARIABLE, raising=False)
    found = MasterKey.from_environment()
    assert found is not None
    assert found.name == MasterKey.parse(key).name
    monkeypatch.setenv(MASTER_KEY_VARIABLE, key)
    with pytest.raises(ConfigurationError, match="COUNTERACT_MASTER_KEY_FILE is set as well"):
        MasterKey.from_environment()
    monkeypatch.delenv(MASTER_KEY_VARIABLE)
    monkeypatch.setenv(MASTER_KEY_FILE_VARIABLE, str(tmp_path))
    with pytest.raises(ConfigurationError, match="COUNTERACT_MASTER_KEY_FILE cannot be read"):
        MasterKey.from_environment()


Email = Annotated[str | Forgotten, Personal("customer_id")]


@pytest.mark.parametrize(
    ("annotations", "result", "why"),
    [
        ({"email": Email, "customer_id": str}, None, "email is marked Personal, and neither"),
        ({"contact": Contact}, None, "Contact.phone is marked"),
        ({}, Contact, "its result: Contact.phone is marked"),
    ],
)
def test_a_command_or_a_result_that_would_go_in_clear_is_refused(annotations: Any, result: Any, why: str) -> None:
    namespace = {"__module__": __name__, "__annotations__": annotations}
    with pytest.raises(InvalidDeclaration, match=f"(?s){why}.*send an id"):
        types.new_class("Inform", (Pivot[result],), {"service": "mail"}, lambda body: body.update(namespace))


def test_forgotten_is_no_text_that_anybody_could_write() -> None:
    class Noted(Event):
        text: str | Forgotten

    for text in ("forgotten", '{"forgotten": true}', str(FORGOTTEN)):
        assert Noted.model_validate_json(Noted(text=text).model_dump_json()).text == text
    assert Noted.model_validate_json(Noted(text=FORGOTTEN).model_dump_json()).text == FORGOTTEN
