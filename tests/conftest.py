"""Real servers for every level above unit."""

import os
import signal

import pytest

from counteract.store.master_key import MASTER_KEY_VARIABLE, MasterKey

pytest_plugins = ["counteract.dev.fixtures", "tests.market", "tests.small_disk", "tests.travel.world"]

LONG = (
    "test_it_finds_bugs",
    "test_explore",
    "test_contracts",
    "test_large_events",
    "test_upgrade",
    "test_when_it_goes_wrong",
    "test_chaos",
    "test_dev_command",
    "test_demo",
    "test_docs_site",
    "test_tutorial",
    "test_new_command",
    "test_worker_versions",
    "test_package",
    "test_explore_checkout",
    "test_checkout_in_doubt",
    "test_checkout",
    "test_how_to",
    "test_deployment",
    "test_store_faults",
    "test_market_transactions",
    "test_sink_projection",
    "test_embedded_postgres",
    "test_high_water_mark_stress",
    "test_sagas_command",
    "test_resume_and_close",
    "test_own_client",
    "test_checkout_worker",
    "test_sharded_projection",
    "test_projections_command",
    "test_change_a_saga",
    "test_container_health",
    "test_saga_undoing",
    "test_reactions",
    "test_saga_new_runs",
    "test_layout",
    "test_store_load",
    "test_subscription",
    "test_high_water_mark",
)
"""Test files that take more than ten seconds on a busy machine, the longest first."""


def pytest_configure() -> None:
    # Under nohup, and in the background of a script, these are ignored, and by every process that the tests start too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # For the marketplace's addresses, in whatever process.
    os.environ.setdefault(MASTER_KEY_VARIABLE, MasterKey.new())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: with several processes, one that comes last would leave the others idle."""
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))
