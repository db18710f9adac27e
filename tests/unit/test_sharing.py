"""Members of a subscription share its shards without asking each other."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counteract.subscriptions.membership import share

pytestmark = pytest.mark.unit


@given(st.integers(1, 64), st.sets(st.uuids(), min_size=1, max_size=20))
def test_the_shares_make_up_the_whole_and_differ_by_one_at_the_most(shards: int, members: set[UUID]) -> None:
    shares = [share(shards, me, list(members - {me})) for me in sorted(members)]
    assert sum(shares) == shards
    assert shares == sorted(shares, reverse=True)
    assert max(shares) - min(shares) <= 1
