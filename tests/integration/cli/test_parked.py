"""`counteract parked`, as a person at a shell uses it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

import pytest

from counteract.store import PostgresEventStore
from counteract.subscriptions import reached
from tests.commands import counteract
from tests.integration.subscriptions.fussy_subscriber import BAD, GOOD, PATIENCE, RAISED, Fussy, noted, running, write

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def parked(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return await counteract("parked", *arguments, environment=os.environ | {"DATABASE_URL": url})


async def test_what_is_parked_is_listed_shown_discarded_and_redriven(
    event_store: PostgresEventStore, app_url: str
) -> None:
    async with running(app_url, Fussy(2)):
        await reached(event_store, "fussy", await write(event_store, BAD, BAD, BAD, GOOD), timeout=PATIENCE)

        listed = await parked("list", url=app_url)
        (stream,) = [json.loads(line) for line in listed.stdout.splitlines()]
        assert (stream["subscription"], stream["stream"], stream["events"], stream["position"]) == (
            "fussy",
            "counter/bad",
            2,
            2,
        )
        shown = await parked("show", "fussy", url=app_url)
        assert [(each["position"], each["error"]) for each in map(json.loads, shown.stdout.splitlines())] == [
            (2, f"ValueError: {RAISED}"),
            (3, None),
        ]
        as_lines = await parked("show", "fussy", "counter/bad", "--table", url=app_url)
        assert "waits for those before it" in as_lines.stdout

        discarded = await parked("discard", "fussy", "2", "--why", "a test of ours", url=app_url)
        redriven = await parked("redrive", "fussy", url=app_url)
        assert (discarded.returncode, redriven.returncode) == (0, 0)
        assert redriven.stdout.startswith("1 events are tried again")
        async with asyncio.timeout(PATIENCE):
            while await noted(event_store, BAD) != [1, 3]:  # noqa: ASYNC110 - it happens in the database
                await asyncio.sleep(0.02)
    assert (await parked("list", "--table", url=app_url)).stdout == "nothing is parked\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "fussy"], "'fussy' has nothing parked: `counteract parked list` shows what there is"),
        (["redrive", "fussy", "counter/bad"], "'fussy' has nothing parked of counter/bad"),
        (["discard", "fussy", "7", "--why", "x"], "'fussy' has nothing parked at position 7"),
        (["redrive", "fussy", "bad"], "'bad' is no stream: write its type and its id, as in saga/order-1"),
    ],
)
async def test_what_is_wrong_is_one_clear_line(arguments: list[str], said: str, app_url: str) -> None:
    refused = await parked(*arguments, url=app_url)
    assert (refused.returncode, refused.stderr.strip()) == (1, said)
