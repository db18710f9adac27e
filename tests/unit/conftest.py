"""What unit tests leave behind must not keep the workers of later tests from starting."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from counteract.commands import namesakes


@pytest.fixture
def forgotten() -> Iterator[None]:
    """The command classes that a test declares are gone after it."""
    yield
    gc.collect()
    assert namesakes() == []
