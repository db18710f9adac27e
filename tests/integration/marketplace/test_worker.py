"""worker.py as an operator runs it: wrongly configured, split into services, and asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

from tests.market import ROOT, Market, request
from workflows.checkout import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.program]

SETTINGS = (
    "DATABASE_URL",
    "PAYMENT_PROVIDER_URL",
    "POOL_SIZE",
    "TEMPORAL_DEPLOYMENT_NAME",
    "TEMPORAL_WORKER_BUILD_ID",
)


def worker(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, str(ROOT / "worker.py"), *arguments]
    return subprocess.run(command, env=env | settings, capture_output=True, text=True, timeout=60, check=False)


def test_every_setting_that_is_missing_or_wrong_is_named_at_once() -> None:
    run = worker(POOL_SIZE="many")
    assert run.returncode == 1
    assert [line.split()[1] for line in run.stderr.splitlines()[1:]] == [
        "DATABASE_URL",
        "POOL_SIZE",
        "PAYMENT_PROVIDER_URL",
    ]
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("name", "build_id", "said"),
    [
        ("", "v1", "is set, but TEMPORAL_DEPLOYMENT_NAME is not: set both, or neither"),
        ("marketplace", "", "is not set, but TEMPORAL_DEPLOYMENT_NAME is: set both, or neither"),
        ("market.place", "v1", "it can have neither . nor : in it"),
        ("__marketplace", "v1", "names that begin with __ are the server's own"),
        ("marketplace", "__v1", "names that begin with __ are the server's own"),
        ("marketplace", "v" * 256, "at most 255"),
    ],
)
def test_a_version_that_the_server_would_not_take_is_refused_at_once(name: str, build_id: str, said: str) -> None:
    """The server says nothing of it: such a worker would wait for ever."""
    version = {"TEMPORAL_DEPLOYMENT_NAME": name, "TEMPORAL_WORKER_BUILD_ID": build_id}
    run = worker("--services", "sagas", DATABASE_URL="postgresql://nowhere", **version)
    assert run.returncode == 1
    assert said in run.stderr
    assert len(run.stderr.splitlines()) == 2


def test_only_the_payment_service_needs_the_provider() -> None:
    run = worker("--services", "stock,sagas")
    assert "DATABASE_URL" in run.stderr
    assert "PAYMENT_PROVIDER_URL" not in run.stderr


@pytest.mark.parametrize(("services", "said"), [("stock,stok", "unknown: stok"), (",", "none given")])
def test_a_service_that_does_not_exist_is_told_beside_those_that_do(services: str, said: str) -> None:
    run = worker("--services", services)
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].endswith(
        f"{said}; there are sagas, orders, payments, products, shipments, stock"
    )


def test_a_temporal_server_that_is_not_there_is_one_clear_line(market: Market) -> None:
    run = worker("--services", "stock", DATABASE_URL=market.database_url, TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (run.returncode, run.stderr) == (
        1,
        "no Temporal server answers at 127.0.0.1:1: start it, or set TEMPORAL_ADDRESS\n",
    )


async def test_a_checkout_runs_over_workers_of_their_own_for_each_service(market: Market) -> None:
    together = market.processes.pop("worker")
    psutil.Process(together.pid).send_signal(signal.SIGTERM)
    assert await together.wait() == 0

    for services in ("sagas", "stock,orders", "payments", "shipments"):
        await market.run(services, str(ROOT / "worker.py"), "--services", services)
    what = request(market.catalogue.plain[30])
    receipt = await market.client.execute_workflow(
        Checkout.run, what, id=f"checkout-{what.order_id}", task_queue="sagas"
    )
    assert receipt.order_id == what.order_id

    for services in ("sagas", "stock,orders", "payments", "shipments"):
        await market.processes.pop(services).stop()
    await market.run("worker", str(ROOT / "worker.py"))
