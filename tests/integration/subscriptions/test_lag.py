"""A subscription that is further behind than it was declared to be says so, once, and when that is over."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from counteract.store import PostgresEventStore
from counteract.subscriptions import Subscription, reached
from counteract.subscriptions.administration import standings
from tests.integration.subscriptions.fussy_subscriber import GOOD, PATIENCE, Fussy, write

pytestmark = [pytest.mark.integration, pytest.mark.readside]


async def test_a_breach_is_told_once_and_shown_until_it_is_over(
    event_store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "counteract.subscriptions")
    fussy = Fussy(1)
    fussy.error = ConnectionRefusedError("the other side is down")
    subscription = Subscription(app_url, fussy, within=timedelta(seconds=0.4), lease=10)
    running = asyncio.create_task(subscription.run())
    try:
        last = await write(event_store, GOOD)
        async with asyncio.timeout(PATIENCE):
            while "behind, and should be within 0.4 s" not in caplog.text:  # noqa: ASYNC110 - in another's log
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        async with event_store.connection() as connection:
            (late,) = await standings(connection)
        assert (late.status, late.within_seconds) == ("late", 0.4)
        fussy.chokes_on.clear()
        await reached(event_store, "fussy", last, timeout=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            while "is up to date again" not in caplog.text:  # noqa: ASYNC110 - in another's log
                await asyncio.sleep(0.02)
        async with event_store.connection() as connection:
            (standing,) = await standings(connection)
        assert standing.status == "running"
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert caplog.text.count("should be within") == 1


async def test_one_that_keeps_up_says_nothing(
    event_store: PostgresEventStore, app_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    running = asyncio.create_task(Subscription(app_url, Fussy(), within=timedelta(seconds=20)).run())
    try:
        await reached(event_store, "fussy", await write(event_store, GOOD, GOOD), timeout=PATIENCE)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert "should be within" not in caplog.text
