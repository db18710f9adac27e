"""The health check of the containers, on processes that do their work and on some that do not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from projections import READ_MODELS
from tests.market import ROOT, Market

pytestmark = [pytest.mark.integration, pytest.mark.program]

BEGIN = "insert into subscriptions (name) select unnest(%s::text[])"
NAMES = sorted(each.name for each in READ_MODELS)
APPEND = """
insert into events (event_id, aggregate_type, aggregate_id, version, event_type, schema_version, event_data, metadata, created_at)
values (gen_random_uuid(), 'order', '1', 1, 'OrderPlaced', 1, '{}', '{}', %s)
"""


def check(env: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "deploy.healthcheck", *arguments]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    return run.returncode, run.stderr


def test_a_worker_that_polls_its_task_queues_is_well(market: Market) -> None:
    assert check(market.env, "worker", "sagas", "stock", "payments") == (0, "")


def test_a_task_queue_that_nobody_polls_is_named(market: Market) -> None:
    assert check(market.env, "worker", "sagas", "stok") == (1, "no worker of this host polls stok\n")


def test_a_server_that_is_not_there_is_said_without_a_traceback(market: Market) -> None:
    code, said = check(market.env | {"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "worker", "sagas")

    assert code == 1
    assert "refused" in said.lower()
    assert "Traceback" not in said


def test_a_projection_that_keeps_up_is_well(market: Market) -> None:
    assert check(market.env, "projections") == (0, "")


def test_a_projection_that_never_began_is_named(market: Market, database_url: str) -> None:
    said = "".join(f"{name} is behind\n" for name in NAMES)
    assert check(market.env | {"DATABASE_URL": database_url}, "projections") == (1, said)


@pytest.mark.parametrize(("age", "code"), [(timedelta(seconds=30), 0), (timedelta(seconds=90), 1)])
def test_a_projection_is_behind_when_an_event_has_waited_too_long(
    market: Market, database_url: str, age: timedelta, code: int
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(BEGIN, (NAMES,))
        connection.execute(APPEND, (datetime.now(UTC) - age,))

    assert check(market.env | {"DATABASE_URL": database_url}, "projections")[0] == code
