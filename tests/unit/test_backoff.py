"""Waiting longer each time, each process for a time of its own."""

from __future__ import annotations

import pytest

from counteract.subscriptions.backoff import Backoff

pytestmark = pytest.mark.unit


def test_delays_double_up_to_the_longest_and_begin_anew_after_a_reset() -> None:
    backoff = Backoff(shortest=1.0, longest=5.0)
    for bound in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert bound / 2 <= backoff.next() <= bound
    backoff.reset()
    assert backoff.is_fresh
    assert backoff.next() <= 1.0


def test_processes_that_failed_together_do_not_come_back_together() -> None:
    delays = {Backoff(shortest=1.0, longest=1.0).next() for _ in range(50)}
    assert len(delays) == 50
    assert max(delays) - min(delays) > 0.2
