"""Checkouts on the whole marketplace, with every process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError

from counteract.dev.temporal import find_program
from counteract.lifecycle import sagas
from counteract.projections import reached
from counteract.saga import SagaReport
from domain.checkout import CheckoutRequest, Receipt
from domain.orders import OrderStatus, orders
from marketplace.demo import begun
from marketplace.invariants import Facts, findings, rebuilt_equals_live
from projections import READ_MODELS, order_summary
from tests.market import Market, line, request
from workflows.checkout import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def start(market: Market, what: CheckoutRequest) -> WorkflowHandle[Checkout, Receipt]:
    return await market.client.start_workflow(Checkout.run, what, id=f"checkout-{what.order_id}", task_queue="sagas")


async def compensated(handle: WorkflowHandle[Checkout, Receipt]) -> SagaReport:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    return SagaReport.model_validate(failed.value.cause.details[0])


async def provider_books(market: Market) -> dict[str, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{market.provider_url}/payments") as answer:
        return {each["key"]: each for each in await answer.json()}


async def test_a_checkout_sells_ships_and_closes(market: Market) -> None:
    product = market.catalogue.plain[0]
    before = await market.stock(product)
    what = request(product, quantity=2)

    receipt = await (await start(market, what)).result()

    assert receipt.packages == 1
    assert receipt.totals.invoice == 2 * product.unit_price + product.freight
    assert receipt.invoice.startswith("customer-1-")
    after = await market.stock(product)
    assert (after.available, after.sold[what.order_id]) == (before.available - 2, 2)
    assert (await market.store.load(orders, what.order_id)).state.status is OrderStatus.COMPLETED
    assert await market.lifecycle(f"checkout-{what.order_id}") == ["SagaStarted", "SagaCompleted"]


async def test_the_read_model_shows_the_order_once_it_has_reached_the_receipts_position(market: Market) -> None:
    what = request(market.catalogue.plain[1])
    receipt = await (await start(market, what)).result()

    await reached(market.store, order_summary.name, receipt.position, timeout=10)
    last = (await market.store.read_stream(sagas.stream(f"checkout-{what.order_id}")))[-1]
    assert receipt.position == last.position

    async with market.store.connection() as connection:
        query = "select status, invoice, total, paid, packages from order_summary where order_id = %s"
        row = await (await connection.execute(query, (what.order_id,))).fetchone()
    assert row == ("completed", receipt.invoice, receipt.totals.invoice, receipt.totals.invoice, 1)


async def test_a_line_out_of_stock_releases_the_others(market: Market) -> None:
    plain, scarce = market.catalogue.plain[2], market.catalogue.scarce[0]
    what = request(plain).model_copy(update={"lines": (line(plain), line(scarce, 10))})

    report = await compensated(await start(market, what))

    assert "out of stock" in str(report.cause)
    assert what.order_id not in (await market.stock(plain)).held
    assert {step.undo for step in report.steps if step.outcome == "applied"} <= {"undone"}


async def test_a_partial_checkout_goes_on_with_what_there_is(market: Market) -> None:
    plain, scarce = market.catalogue.plain[3], market.catalogue.scarce[0]
    what = request(plain, partial=True).model_copy(update={"lines": (line(plain), line(scarce, 10))})

    receipt = await (await start(market, what)).result()

    assert receipt.products == (plain.product_id,)


async def test_a_replaced_product_is_refused(market: Market) -> None:
    report = await compensated(await start(market, request(market.catalogue.replaced[0])))

    assert "product replaced" in str(report.cause)


async def test_a_declined_card_cancels_the_order_and_releases_the_units(market: Market) -> None:
    product = market.catalogue.plain[4]
    what = request(product, token="tok_declined")  # noqa: S106

    report = await compensated(await start(market, what))

    assert [(step.step, step.undo) for step in report.steps] == [
        ("ReserveStock", "undone"),
        ("PlaceOrder", "undone"),
        ("AuthorizePayment", None),
    ]
    assert (await market.store.load(orders, what.order_id)).state.status is OrderStatus.CANCELLED
    assert what.order_id not in (await market.stock(product)).held


async def test_an_authorisation_whose_answer_never_comes_is_voided(market: Market) -> None:
    what = request(market.catalogue.plain[5], token="tok_silent")  # noqa: S106
    before = set(await provider_books(market))

    report = await compensated(await start(market, what))

    assert report.steps[-1].outcome == "unknown"
    books = await provider_books(market)
    assert [books[key]["state"] for key in books.keys() - before] == ["voided"]


async def test_a_checkout_cancelled_midway_ends_cancelled_with_everything_undone(market: Market) -> None:
    product = market.catalogue.plain[6]
    what = request(product, token="tok_silent")  # noqa: S106
    handle = await start(market, what)
    await begun(handle, "AuthorizePayment")

    await handle.cancel()

    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
    assert what.order_id not in (await market.stock(product)).held
    assert await market.lifecycle(f"checkout-{what.order_id}") == ["SagaStarted", "SagaCompensated"]


async def test_the_plain_temporal_command_starts_a_checkout_from_a_json_file(market: Market, tmp_path: Path) -> None:
    what = request(market.catalogue.plain[7])
    file = tmp_path / "checkout.json"
    file.write_text(what.model_dump_json())

    answer = await _temporal(
        market, "workflow", "execute", "--type", "Checkout", "--task-queue", "sagas", "--input-file", str(file),
        "--workflow-id", f"checkout-{what.order_id}", "--output", "json",
    )  # fmt: skip

    assert Receipt.model_validate(json.loads(answer.stdout)["result"]).order_id == what.order_id


async def test_input_from_the_command_line_that_does_not_validate_fails_with_its_fields(
    market: Market, tmp_path: Path
) -> None:
    file = tmp_path / "checkout.json"
    wrong = json.loads(request(market.catalogue.plain[7]).model_dump_json())
    wrong["payment"]["card"]["token"] = "4111 1111 1111 1111"  # noqa: S105
    wrong["lines"][0]["quantity"] = 11
    file.write_text(json.dumps(wrong))

    answer = await _temporal(
        market, "workflow", "execute", "--type", "Checkout", "--task-queue", "sagas", "--input-file", str(file),
        "--workflow-id", f"checkout-{wrong['order_id']}",
    )  # fmt: skip

    assert answer.returncode != 0
    said = answer.stdout + answer.stderr
    assert "lines.0.quantity" in said
    assert "payment.card.token: value_error" in said
    assert "4111" not in said
    described = await market.client.get_workflow_handle(f"checkout-{wrong['order_id']}").describe()
    assert described.status is WorkflowExecutionStatus.FAILED


async def test_checkouts_survive_a_worker_that_is_killed(market: Market) -> None:
    wanted = [request(product) for product in market.catalogue.plain[8:20]]
    handles = [await start(market, what) for what in wanted]
    await begun(handles[0], "PlaceOrder")

    await market.processes["worker"].kill()
    await market.run("worker", "worker.py")

    ends = await asyncio.gather(*(handle.result() for handle in handles), return_exceptions=True)
    failed = [end.cause for end in ends if isinstance(end, WorkflowFailureError)]
    # A worker that starts slowly comes too late for an authorisation, which has eight seconds: that checkout is undone as a whole.
    assert {cause.type for cause in failed if isinstance(cause, ApplicationError)} <= {"SagaCompensated"}
    assert {end.order_id for end in ends if isinstance(end, Receipt)} <= {what.order_id for what in wanted}
    assert sum(isinstance(end, Receipt) for end in ends) + len(failed) == len(wanted)
    assert len(failed) < len(wanted)
    # The rest of the market's tests leave nothing under way either, so everything must add up now.
    found = findings(await Facts.gathered(market.store, market.provider_url))
    found += [await rebuilt_equals_live(market.database_url, market.store, each) for each in READ_MODELS]
    assert [finding for finding in found if not finding.holds] == []


async def _temporal(market: Market, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [find_program(), *arguments, "--address", market.address]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
