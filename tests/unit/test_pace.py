"""How many events a batch has, by a clock that the test turns."""

from __future__ import annotations

import pytest

from counteract.subscriptions import pace as module
from counteract.subscriptions.pace import Pace


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def handled(pace: Pace, clock: list[float], seconds: float, events: int | None = None) -> int:
    """The size of the batch that comes after one that took so long."""
    with pace.measured(pace.size if events is None else events):
        clock[0] += seconds
    return pace.size


def test_it_doubles_up_to_the_most_while_batches_are_full_and_quick(clock: list[float]) -> None:
    pace = Pace(3000, 4)
    assert [pace.size] + [handled(pace, clock, 0.9) for _ in range(4)] == [500, 1000, 2000, 3000, 3000]


@pytest.mark.parametrize("most", [1, 7, 500])
def test_it_never_exceeds_the_most(clock: list[float], most: int) -> None:
    pace = Pace(most, 4)
    assert [pace.size, handled(pace, clock, 0)] == [most, most]


def test_it_stays_where_batches_are_not_full_or_take_a_good_part_of_the_time(clock: list[float]) -> None:
    pace = Pace(3000, 4)
    assert handled(pace, clock, 0, events=499) == 500
    assert handled(pace, clock, 1.1) == 500
    assert handled(pace, clock, 3.9) == 500


def test_it_halves_what_took_too_long_down_to_one(clock: list[float]) -> None:
    pace = Pace(3000, 4)
    assert [handled(pace, clock, 5) for _ in range(10)] == [250, 125, 62, 31, 15, 7, 3, 1, 1, 1]


def test_a_batch_that_was_read_before_is_the_measure_only_where_it_is_smaller(clock: list[float]) -> None:
    pace = Pace(3000, 4)
    assert handled(pace, clock, 5) == 250
    assert handled(pace, clock, 5, events=500) == 125
    assert handled(pace, clock, 5, events=10) == 5


def test_a_failure_makes_a_large_batch_small(clock: list[float]) -> None:
    pace = Pace(3000, 4)
    handled(pace, clock, 0)
    handled(pace, clock, 0)
    with pytest.raises(RuntimeError), pace.measured(2000):
        raise RuntimeError
    assert pace.size == 500


def test_a_failure_after_too_long_halves_it(clock: list[float]) -> None:
    pace = Pace(3000, 4)

    def fail() -> None:
        clock[0] += 5
        raise RuntimeError

    with pytest.raises(RuntimeError), pace.measured(500):
        fail()
    assert pace.size == 250
