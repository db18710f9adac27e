"""A server of Redis, and names for what is kept in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from tests.integration.projections.sink_places import InRedis

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def redis() -> AsyncIterator[InRedis]:
    async with InRedis.open() as place:
        yield place


@pytest.fixture
def name() -> str:
    """The name of a projection, which no other test has."""
    return f"scores-{next(_numbers)}"
