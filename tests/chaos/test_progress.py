"""A long storm can be watched, and takes in as many customers as the machine has room for."""

from __future__ import annotations

import os
from random import Random
from typing import cast

import pytest
from rich.console import Console

from marketplace.chaos.databases import Unreliable
from marketplace.chaos.faults import Faults
from marketplace.chaos.fleet import Fleet
from marketplace.chaos.load import AT_ONCE, MOST_AT_ONCE, Load, room
from marketplace.chaos.plan import Kind, Plan
from marketplace.chaos.progress import Progress, left
from tests.chaos.ended_cases import a_case

pytestmark = pytest.mark.unit


def test_what_is_left_goes_by_the_pace_so_far() -> None:
    assert left(600, 0.25) == "; about 30 min left"


def test_a_run_that_has_hardly_begun_foretells_nothing() -> None:
    assert left(60, 0.001) == ""


def test_it_is_as_far_as_what_is_furthest_behind() -> None:
    load = Load(Random(1), frozenset(Kind), set(), cases=[a_case("completed")] * 60, under_way=20)
    faults = Faults(cast("Fleet", None), cast("Unreliable", None), Random(1), frozenset(Kind), (1, 2), dealt=8)
    plan = Plan(seed=1, sagas=100, seconds=1, storm=1, pairs=0, faults=10)
    progress = Progress(Console(), plan, load, faults, began=0)

    assert progress.share() == 0.4
    assert progress.far() == "60 of 100 sagas begun, 40 ended; 8 of 10 faults"


@pytest.mark.parametrize(("busy", "takes"), [(0.0, MOST_AT_ONCE), (1.0, 60), (5.0, AT_ONCE)])
def test_an_idle_machine_takes_more_at_once(busy: float, takes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (2 * busy, 0.0, 0.0))

    assert room() == takes
