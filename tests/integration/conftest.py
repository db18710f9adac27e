"""The agency with its sagas, for the whole session, and folders in which PostgreSQL can have files of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from counteract.dev import EmbeddedTemporal
from tests.travel import byways, detours, legs, patient
from tests.travel.agency import Agency
from tests.travel.following import SAGAS
from tests.travel.trips import Trip


@pytest.fixture(scope="session")
async def agency(temporal: EmbeddedTemporal) -> AsyncIterator[Agency]:
    agency = Agency()
    async with agency.open(
        temporal.address, SAGAS, workflows=[Trip, legs.Journey, *detours.DETOURS, *byways.BYWAYS, *patient.PATIENT]
    ):
        yield agency


@pytest.fixture
def trip() -> str:
    return f"trip-{uuid4().hex[:12]}"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own.

    Under root PostgreSQL runs as another user, who must get through the folders above; pytest takes that right away
    from its own folder whenever another session of it starts.
    """
    with tempfile.TemporaryDirectory(prefix="counteract-test-") as folder:
        yield Path(folder)
