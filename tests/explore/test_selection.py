"""The faults that users select, and the messages that they get."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

import pytest
from pydantic import BaseModel, Field, PositiveInt, TypeAdapter

from counteract.errors import ConfigurationError
from counteract.messages import CommandKind
from counteract.testing import ExplorationFailed, pytest_plugin
from counteract.testing.exploration.catalogue import catalogue
from counteract.testing.exploration.evidence import Evidence
from counteract.testing.exploration.faults import Ending, Fault, Known
from counteract.testing.exploration.options import OPTIONS, Options
from counteract.testing.exploration.report import Exploration, Explored
from counteract.testing.exploration.selection import Choice, pairs_of
from counteract.testing.exploration.worker.samples import sample

pytestmark = pytest.mark.unit

STEPS = [
    Known("ReserveStock", CommandKind.COMPENSATABLE, 1, external=False, repeats=True),
    Known("AuthorizePayment", CommandKind.COMPENSATABLE, 2, external=True, repeats=True),
    Known("ConfirmPayment", CommandKind.PIVOT, 3, external=True, repeats=True),
    Known("CompleteOrder", CommandKind.RETRIABLE, 4, external=False, repeats=True),
]


@pytest.fixture
def singles() -> list[Fault]:
    return catalogue(STEPS, has_deadline=True)


def names(faults: list[Fault]) -> list[str]:
    return [str(fault) for fault in faults]


def test_every_fault_has_a_name_of_its_own(singles: list[Fault]) -> None:
    assert len(set(names(singles))) == len(singles)


def test_only_faults_that_make_sense_for_a_step_are_tried(singles: list[Fault]) -> None:
    of = {target: {each.name for each in singles if each.target == target} for target in [s.key for s in STEPS]}

    assert "happened, not recorded" in of["AuthorizePayment"] - of["ReserveStock"]
    assert "refused, then resolved" in of["CompleteOrder"] - of["ReserveStock"]
    assert "refused" in of["ReserveStock"] - of["CompleteOrder"]
    assert not [name for name in names(singles) if name.startswith("undo C")]
    assert not [name for name in names(catalogue(STEPS, has_deadline=False)) if "deadline" in name]


def test_a_fault_is_chosen_by_name_by_pattern_or_with_another(singles: list[Fault]) -> None:
    assert names(Choice("ReserveStock: refused").among(singles)) == ["ReserveStock: refused"]
    assert len(Choice("undo *: worker killed").among(singles)) == 2
    pair = "ReserveStock: delivered twice + AuthorizePayment: refused"
    assert names(Choice(pair).among(singles)) == [pair]


def test_an_unknown_fault_is_answered_with_what_it_may_have_meant(singles: list[Fault]) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'ReserveStock: refused'"):
        Choice("ReserveStock: refuse").among(singles)


def test_the_same_seed_draws_the_same_pairs(singles: list[Fault]) -> None:
    first, again, other = (names(Choice(pairs=20, seed=seed).among(singles)[-20:]) for seed in (1, 1, 2))

    assert first == again != other


def test_pairs_may_be_tried_alone_and_all_of_them_in_random_order(singles: list[Fault]) -> None:
    chosen = Choice(singles=False, pairs=None, seed=3).among(singles)

    assert len(chosen) == len(pairs_of(singles)) > len(singles)
    assert {len(each.parts) for each in chosen} == {2}
    assert chosen != Choice(singles=False, pairs=None, seed=4).among(singles)


def test_two_faults_are_a_pair_only_if_one_run_can_meet_both(singles: list[Fault]) -> None:
    by_name = {str(each): each for each in singles}

    def can_meet(one: str, other: str) -> bool:
        return by_name[one].can_meet(by_name[other])

    assert can_meet("ReserveStock: answer lost, then asked again", "CompleteOrder: worker killed")
    assert not can_meet("ReserveStock: refused", "CompleteOrder: worker killed"), "the saga does not come that far"
    assert not can_meet("undo ReserveStock: worker killed", "CompleteOrder: worker killed")
    assert not can_meet(
        "AuthorizePayment: records after its undo", "AuthorizePayment: cancelled between effect and record"
    ), "both hold up the handler"


def test_a_failure_says_how_to_see_it_again_and_leaves_out_pairs_that_one_fault_explains(singles: list[Fault]) -> None:
    bad, good = singles[1], singles[-1]
    failed = ExplorationFailed(
        Exploration("Checkout", [broken(bad), broken(bad + good), broken(good + singles[2])], 1.0, seed=7)
    )

    assert f'explore(Checkout, request, only="{bad}")' in str(failed)
    assert f'only="{bad + good}"' not in str(failed)
    assert f'explore(Checkout, request, only="{good + singles[2]}", seed=7)' in str(failed)


def broken(fault: Fault) -> Explored:
    evidence = Evidence(Ending.COMPLETED, "", None, (), (), (), (), ())
    return Explored("id", None, fault, evidence, (), reached=True, violations=["wrong"])


class Size(StrEnum):
    SMALL = "small"


class Part(BaseModel):
    name: str = Field(min_length=3)
    count: PositiveInt


class Whole(BaseModel):
    size: Size
    when: date
    parts: list[Part] = Field(min_length=2)
    pair: tuple[int, str]
    note: str | None = None


@pytest.mark.parametrize("kind", [Whole, Part, None, int, str, bool, list[Part], dict[str, int], int | None])
def test_an_answer_that_nobody_cares_about_is_made_up(kind: Any) -> None:
    adapter = TypeAdapter(kind)

    adapter.validate_python(sample(adapter))


class Picky(BaseModel):
    code: str = Field(pattern=r"^\d{6}$")


def test_where_none_can_be_made_up_one_is_asked_for() -> None:
    with pytest.raises(ConfigurationError, match="no value of Picky could be made up: give one in answers="):
        sample(TypeAdapter(Picky))


def test_a_session_may_ask_for_pairs_everywhere_and_for_all_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OPTIONS, "show", False)
    monkeypatch.setattr(OPTIONS, "pairs", 0)
    monkeypatch.setattr(OPTIONS, "seed", 0)
    parser = pytest.Parser(_ispytest=True)
    pytest_plugin.pytest_addoption(parser)

    class Config:
        known = parser.parse(["--explore", "--explore-pairs", "30", "--explore-seed", "4"])

        def getoption(self, name: str) -> Any:
            return getattr(self.known, name.removeprefix("--").replace("-", "_"))

    pytest_plugin.pytest_configure(Config())  # type: ignore[arg-type]

    assert Options(30, 4, show=True) == OPTIONS
