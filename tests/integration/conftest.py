"""For tests in which PostgreSQL has files of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own.

    Under root PostgreSQL runs as another user, who must get through the folders above; pytest takes that right away
    from its own folder whenever another session of it starts.
    """
    with tempfile.TemporaryDirectory(prefix="counteract-test-") as folder:
        yield Path(folder)
