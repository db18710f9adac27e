"""What the plugin is made with, and what it gives to a worker."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import WorkerConfig

from counteract import ConfigurationError, CounteractPlugin, Lifecycle, PostgresEventStore, SagaWorkflow

pytestmark = pytest.mark.unit

STORE = PostgresEventStore.__new__(PostgresEventStore)
"""Never opened: nothing is asked of it."""


@workflow.defn
class Nothing(SagaWorkflow):
    @workflow.run
    async def run(self) -> None: ...


async def activities(plugin: CounteractPlugin) -> list[Any]:
    client = await Client.connect("nowhere:1", lazy=True)
    return list(plugin.configure_worker(WorkerConfig(client=client, workflows=[Nothing]))["activities"])


async def test_a_store_is_all_that_a_worker_of_sagas_needs() -> None:
    given = await activities(CounteractPlugin(store=STORE))
    by_hand = await activities(CounteractPlugin(Lifecycle(STORE)))

    assert [each.__func__ for each in given] == [each.__func__ for each in by_hand]
    assert all(each.__self__.store is STORE for each in given)


async def test_a_worker_of_sagas_without_a_store_is_told_how_to_get_one() -> None:
    with pytest.raises(
        ConfigurationError, match=r"worker of Nothing .*\n.*plugins=\[CounteractPlugin\(store=store\)\]"
    ):
        await activities(CounteractPlugin())


def test_what_the_sagas_record_has_one_place() -> None:
    with pytest.raises(ConfigurationError, match="either a store or a lifecycle recorder"):
        CounteractPlugin(Lifecycle(STORE), store=STORE)
