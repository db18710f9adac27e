"""`counteract events`, as a person at a shell uses it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from counteract.store import ANY, PostgresEventStore
from tests.travel.bank import Deposited, accounts

pytestmark = pytest.mark.integration


async def events(*arguments: str, database_url: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "counteract.cli", "events", *arguments],
        env=environment | ({"DATABASE_URL": database_url} if database_url else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_events_are_listed_in_the_global_order_of_all_or_of_one_stream(
    database_url: str, event_store: PostgresEventStore
) -> None:
    for account, amount in (("ann", 1), ("bob", 22), ("ann", 333)):
        await event_store.append(accounts.stream(account), [Deposited(amount=amount)], expect=ANY)

    everything = await events(database_url=database_url)
    anns = await events("account/ann", "--after", "1", database_url=database_url)

    assert everything.stdout.splitlines() == [
        '1  account/ann  1  Deposited  {"amount": 1}',
        '2  account/bob  1  Deposited  {"amount": 22}',
        '3  account/ann  2  Deposited  {"amount": 333}',
    ]
    assert anns.stdout.splitlines() == ['3  account/ann  2  Deposited  {"amount": 333}']


async def test_an_empty_store_has_nothing_to_list(database_url: str) -> None:
    listed = await events(database_url=database_url)

    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "which database? Give --database-url or set DATABASE_URL"),
        (
            ["ann", "--database-url", "postgresql://nobody@/none?host=/nowhere"],
            "'ann' is no stream: write its type and its id, as in saga/order-1",
        ),
    ],
)
async def test_what_is_missing_or_wrong_is_one_clear_line(arguments: list[str], said: str) -> None:
    refused = await events(*arguments, database_url=None)

    assert (refused.returncode, refused.stderr.strip()) == (1, said)
