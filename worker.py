"""The marketplace's workers: settings → adapters → Temporal workers. Nothing imports this."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from pydantic import Field, PositiveInt, ValidationError
from pydantic_settings import BaseSettings
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker

from activities import orders, payments, shipments, stock
from activities.payment_port import HttpPaymentProvider
from counteract import CounteractError
from counteract.errors import ConfigurationError
from counteract.participants import Lifecycle, Participants
from counteract.plugin import CounteractPlugin
from counteract.store import PostgresEventStore
from workflows.checkout import Checkout

SAGAS = "sagas"
"""The orchestrator's task queue."""
SERVICES = ("orders", "payments", "shipments", "stock")
GRACE = timedelta(seconds=5)
"""How long activities may go on after the worker was asked to stop."""


class Settings(BaseSettings):
    """From the environment. Temporal's own settings (TEMPORAL_ADDRESS, …) are read by its client."""

    database_url: str = Field(description="the database, postgresql://user:password@host:5432/database")
    pool_size: PositiveInt = Field(default=10, description="database connections at the most")


class PaymentSettings(Settings):
    """With what only the payment service needs."""

    payment_provider_url: str = Field(description="the payment provider's address, http://host:port")


class TemporalUnreachable(CounteractError):
    """No Temporal server answers: start it, or set TEMPORAL_ADDRESS."""


async def run(services: Collection[str]) -> None:
    """Work until SIGINT or SIGTERM; then finish what is under way."""
    settings, ports = read(PaymentSettings if "payments" in services else Settings), []
    async with AsyncExitStack() as stack:
        if isinstance(settings, PaymentSettings):
            ports.append(await stack.enter_async_context(HttpPaymentProvider.open(settings.payment_provider_url)))
        store = await stack.enter_async_context(
            PostgresEventStore.open(settings.database_url, pool_size=settings.pool_size)
        )
        client = await connected(CounteractPlugin(Lifecycle(store)))
        participants = Participants(store, orders, payments, shipments, stock, resources=ports)
        workers = participants.workers(
            client, [service for service in services if service != SAGAS], graceful_shutdown_timeout=GRACE
        )
        if SAGAS in services:
            workers.append(Worker(client, task_queue=SAGAS, workflows=[Checkout], graceful_shutdown_timeout=GRACE))
        for worker in workers:
            await stack.enter_async_context(worker)
        print(f"ready: {', '.join(sorted(services))}", flush=True)
        await stop_requested()


async def stop_requested() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def connected(plugin: CounteractPlugin) -> Client:
    """To Temporal, by its own environment configuration."""
    config: dict[str, Any] = {"target_host": "localhost:7233", **ClientConfig.load_client_connect_config()}
    try:
        return await Client.connect(**config, plugins=[plugin])
    except RuntimeError as error:
        raise TemporalUnreachable(
            f"no Temporal server answers at {config['target_host']}: start it, or set TEMPORAL_ADDRESS"
        ) from error


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("worker.py", description="Runs the marketplace's sagas and services.")
    parser.add_argument(
        "--services",
        type=chosen,
        default=(SAGAS, *SERVICES),
        metavar="NAME,…",
        help=f"which of {', '.join((SAGAS, *SERVICES))} (default: all)",
    )
    return parser


def chosen(names: str) -> tuple[str, ...]:
    services = tuple(name.strip() for name in names.split(",") if name.strip())
    unknown = sorted(set(services) - {SAGAS, *SERVICES})
    if unknown or not services:
        what = f"unknown: {', '.join(unknown)}" if unknown else "none given"
        raise argparse.ArgumentTypeError(f"{what}; there are {', '.join((SAGAS, *SERVICES))}")
    return services


def read(kind: type[Settings]) -> Settings:
    """Settings from the environment. Raises ConfigurationError that names every variable that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        wrong = [(str(each["loc"][0]), each["msg"]) for each in error.errors(include_input=False)]
        problems = [f"{name.upper()} ({kind.model_fields[name].description}): {what}" for name, what in wrong]
        raise ConfigurationError("settings are missing or wrong", problems) from None


def main() -> int:
    options = parser().parse_args()
    try:
        asyncio.run(run(options.services))
    except CounteractError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
