"""The marketplace's workers: settings → adapters → Temporal workers. Nothing imports this."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from pydantic import Field, PositiveInt, SecretStr, ValidationError, ValidationInfo, create_model, field_validator
from pydantic_settings import BaseSettings
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.envconfig import ClientConfig
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities import orders, payments, products, shipments, stock
from activities.payment_port import HttpPaymentProvider
from counteract import ConfigurationError, CounteractError, CounteractPlugin, Participants, PostgresEventStore
from workflows.checkout import Checkout
from workflows.delivery import Delivery
from workflows.replacement import ProductReplacement

SAGAS = "sagas"
"""The orchestrator's task queue."""
SERVICES = ("orders", "payments", "products", "shipments", "stock")
GRACE = timedelta(seconds=5)
"""How long activities may go on after the worker was asked to stop."""


class Settings(BaseSettings):
    """From the environment. Temporal's own settings (TEMPORAL_ADDRESS, …) are read by its client."""

    database_url: str = Field(description="the database, postgresql://user:password@host:5432/database")
    pool_size: PositiveInt = Field(default=10, description="database connections at the most")
    # These two have the names that Temporal's own tools for deployments set.
    temporal_deployment_name: str = Field(default="", description="what the versions of the sagas' workers share")
    temporal_worker_build_id: str = Field(
        default="", description="the version of the sagas that this worker has", max_length=255, validate_default=True
    )

    @property
    def version(self) -> WorkerDeploymentVersion | None:
        """None: unversioned, so that whichever worker there is goes on with any saga."""
        name, build_id = self.temporal_deployment_name, self.temporal_worker_build_id
        return WorkerDeploymentVersion(name, build_id) if build_id else None

    # A version that the server does not take is one of whose workers it never hears: they would wait without a word.
    @field_validator("temporal_deployment_name", "temporal_worker_build_id")
    @classmethod
    def _is_not_reserved(cls, name: str) -> str:
        if name.startswith("__"):
            raise ValueError("names that begin with __ are the server's own: choose another")
        return name

    @field_validator("temporal_deployment_name")
    @classmethod
    def _has_no_separator(cls, name: str) -> str:
        if {".", ":"} & set(name):
            raise ValueError("it can have neither . nor : in it, which separate it from the build id: choose another")
        return name

    @field_validator("temporal_worker_build_id")
    @classmethod
    def _comes_with_a_name(cls, build_id: str, info: ValidationInfo) -> str:
        name = info.data.get("temporal_deployment_name")
        if name is None or bool(name) == bool(build_id):
            return build_id
        given, missing = ("is not set, but", "is") if name else ("is set, but", "is not")
        raise ValueError(f"{given} TEMPORAL_DEPLOYMENT_NAME {missing}: set both, or neither to run without versions")


class PaymentSettings(Settings):
    """With what only the payment service needs."""

    payment_provider_url: str = Field(description="the payment provider's address, http://host:port")


class ShipmentSettings(Settings):
    """With what only shipments need. The store takes the key from the environment by itself: here it is asked for."""

    counteract_master_key: SecretStr = Field(
        description="it seals the customers' addresses, and `counteract personal new-key` prints one"
    )


NEEDS: Mapping[str, type[Settings]] = {"payments": PaymentSettings, "shipments": ShipmentSettings}


class TemporalUnreachable(CounteractError):
    """No Temporal server answers: start it, or set TEMPORAL_ADDRESS."""


async def run(services: Collection[str]) -> None:
    """Work until SIGINT or SIGTERM; then finish what is under way."""
    settings, ports = read(settings_for(services)), []
    async with AsyncExitStack() as stack:
        if isinstance(settings, PaymentSettings):
            ports.append(await stack.enter_async_context(HttpPaymentProvider.open(settings.payment_provider_url)))
        store = await stack.enter_async_context(
            PostgresEventStore.open(settings.database_url, pool_size=settings.pool_size)
        )
        client = await connected(CounteractPlugin(store=store))
        participants = Participants(store, orders, payments, products, shipments, stock, resources=ports)
        workers = participants.workers(
            client, [service for service in services if service != SAGAS], graceful_shutdown_timeout=GRACE
        )
        if SAGAS in services:
            workers.append(sagas_worker(client, settings.version))
        for worker in workers:
            await stack.enter_async_context(worker)
        print(f"ready: {', '.join(sorted(services))}", flush=True)
        if SAGAS in services and settings.version:
            print(how_to_make_current(settings.version), flush=True)
        await stop_requested()


def sagas_worker(client: Client, version: WorkerDeploymentVersion | None) -> Worker:
    """Only this one has a version: commands and their undo outlive the saga that sent them, on any worker."""
    return Worker(
        client,
        task_queue=SAGAS,
        workflows=[Checkout, Delivery, ProductReplacement],
        deployment_config=pinned_to(version) if version else None,
        graceful_shutdown_timeout=GRACE,
    )


def pinned_to(version: WorkerDeploymentVersion) -> WorkerDeploymentConfig:
    """A saga stays with the version that began it."""
    return WorkerDeploymentConfig(
        version=version, use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.PINNED
    )


def how_to_make_current(version: WorkerDeploymentVersion) -> str:
    return (
        f"version {version.build_id} of {version.deployment_name} takes new sagas once it is the current one:\n"
        f"  temporal worker deployment set-current-version"
        f" --deployment-name {shlex.quote(version.deployment_name)} --build-id {shlex.quote(version.build_id)}"
    )


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


def settings_for(services: Collection[str]) -> type[Settings]:
    """With what each of them needs."""
    kinds = tuple(kind for service, kind in NEEDS.items() if service in services)
    return create_model("WorkerSettings", __base__=kinds) if kinds else Settings


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
