"""Declaring commands, events and deciders: what is right, and what the first mistake says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel, ValidationError

from counteract import Compensatable, Decider, Event, Pivot, Rejected, Retriable
from counteract.errors import ConfigurationError
from counteract.messages import CommandKind

pytestmark = pytest.mark.unit


class Answer(BaseModel):
    """A result."""

    text: str


class Ask(Compensatable[Answer], service="command-tests", compensation="Withdraw", timeout=timedelta(seconds=5)):
    """Ask a question.

    At length.
    """

    question: str


class Decide(Pivot[None], service="command-tests"):
    """The point of no return."""


class Tell(Retriable[list[str]], service="command-tests"):
    pass


class Asked(Event):
    """A question was asked."""

    question: str


class AskedBefore(Event, name="Asked", version=2):
    """The same, later."""


class Clash(Event, name="Asked", version=2):
    """Stored under a name that is taken."""


def test_a_command_declares_its_contract_in_its_class_line() -> None:
    spec = Ask.spec

    assert (spec.name, spec.kind, spec.service, spec.compensation) == (
        "Ask",
        CommandKind.COMPENSATABLE,
        "command-tests",
        "Withdraw",
    )
    assert spec.timeout == timedelta(seconds=5)
    assert spec.result_type is Answer
    assert Decide.spec.result_type is None
    assert Tell.spec.result_type == list[str]


def test_only_a_pivot_has_a_settlement() -> None:
    assert Decide.spec.settlement == "SettleDecide"
    assert Ask.spec.settlement is None


def test_the_web_ui_shows_no_more_than_its_name_of_a_command_that_says_nothing_else() -> None:
    assert Ask(question="why?").summary() is None


def test_a_command_is_frozen_and_takes_no_unknown_field() -> None:
    with pytest.raises(ValidationError):
        Ask(question="why?").question = "how?"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Ask.model_validate({"question": "why?", "qestion": "how?"})


def test_a_command_without_a_service_says_so() -> None:
    with pytest.raises(TypeError, match="Lost needs service="):

        class Lost(Pivot[None]):
            pass


def test_a_compensatable_command_without_its_undo_says_so() -> None:
    with pytest.raises(TypeError, match="Careless is compensatable and needs compensation="):

        class Careless(Compensatable[None], service="command-tests"):
            pass


def test_a_pivot_with_an_undo_says_so() -> None:
    with pytest.raises(TypeError, match="Regret is pivot and can have no compensation="):

        class Regret(Pivot[None], service="command-tests", compensation="Undo"):
            pass


def test_a_command_without_a_result_type_says_so() -> None:
    with pytest.raises(TypeError, match=r"Mute must say what it returns, as in Pivot\[Receipt\]"):

        class Mute(Pivot, service="command-tests"):  # type: ignore[type-arg]
            pass


def test_an_events_stored_name_is_its_class_name_unless_it_says_otherwise() -> None:
    assert (Asked.event_type, Asked.schema_version) == ("Asked", 1)
    assert (AskedBefore.event_type, AskedBefore.schema_version) == ("Asked", 2)


def test_a_decider_whose_events_share_a_stored_name_says_so() -> None:
    with pytest.raises(ConfigurationError, match="AskedBefore and Clash both read what is stored as Asked v2"):
        Decider("question", initial=0, evolve=lambda count, _: count + 1, events=Asked | AskedBefore | Clash)


def test_a_decider_lists_everything_that_is_no_event() -> None:
    with pytest.raises(ConfigurationError) as refused:
        Decider("question", initial=0, evolve=lambda count, _: count + 1, events=Asked | Answer | int)

    assert len(refused.value.problems) == 2


def test_a_decider_folds_its_events() -> None:
    questions: Decider[int, Asked] = Decider("question", initial=0, evolve=lambda count, _: count + 1, events=Asked)

    assert questions.fold([Asked(question="why?"), Asked(question="how?")]) == 2
    assert questions.fold([Asked(question="who?")], 2) == 3


def test_a_refusal_shows_its_facts() -> None:
    assert str(Rejected("out of stock", available=3)) == "out of stock (available=3)"
    assert str(Rejected("closed")) == "closed"
