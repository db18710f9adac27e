"""Checkouts whose outcome is in doubt: answers that get lost, and orders that are placed twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import aiohttp
import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from counteract import Outcome
from counteract.saga import SagaReport
from domain.checkout import CheckoutRequest, Receipt
from domain.orders import OrderStatus, orders
from domain.payments import payments
from domain.stock import stock_item
from marketplace.demo import begun
from tests.market import Market, line, request
from workflows.checkout import Checkout

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def start(market: Market, what: CheckoutRequest, *, name: str = "") -> WorkflowHandle[Checkout, Receipt]:
    workflow_id = f"checkout-{what.order_id}{name}"
    return await market.client.start_workflow(Checkout.run, what, id=workflow_id, task_queue="sagas")


async def undone(handle: WorkflowHandle[Checkout, Receipt]) -> SagaReport:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    return SagaReport.model_validate(failed.value.cause.details[0])


async def books(market: Market, workflow_id: str) -> dict[str, Any]:
    """What the provider holds of the one payment of a saga."""
    query = "select command_id from commands where saga_id = %s and activity_type = 'AuthorizePayment'"
    async with market.store.connection() as connection:
        row = await (await connection.execute(query, (workflow_id,))).fetchone()
    assert row is not None
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{market.provider_url}/authorizations/{row[0]}")
        payment: dict[str, Any] = await answer.json()
        return payment


async def caused_by(market: Market, workflow_id: str) -> Counter[str]:
    """The events of a saga's steps, counted."""
    query = "select event_type, count(*) from events where metadata ->> 'saga' = %s group by event_type"
    async with market.store.connection() as connection:
        rows = await (await connection.execute(query, (workflow_id,))).fetchall()
    return Counter({kind: count for kind, count in rows if not kind.startswith("Saga")})


async def test_an_authorisation_whose_first_answer_is_lost_is_made_once_and_used(market: Market) -> None:
    handle = await start(market, request(market.catalogue.plain[20], token="tok_slow"))  # noqa: S106

    receipt = await handle.result()

    payment = await books(market, handle.id)
    assert (payment["state"], payment["amount"]) == ("captured", receipt.totals.invoice)
    assert len(payment["captures"]) == 1


async def test_a_capture_that_was_never_answered_is_found_out_about_and_the_checkout_goes_on(market: Market) -> None:
    what = request(market.catalogue.plain[21], token="tok_capture_silent")  # noqa: S106
    handle = await start(market, what)

    receipt = await handle.result()

    report = await handle.query("report", result_type=SagaReport)
    assert [step.outcome for step in report.steps if step.step == "ConfirmPayment"] == [Outcome.APPLIED]
    assert (await books(market, handle.id))["state"] == "captured"
    assert (await market.store.load(payments, what.order_id)).state.status == "captured"
    assert receipt.packages == 1


async def test_a_capture_that_never_succeeds_is_ruled_out_before_anything_is_undone(market: Market) -> None:
    what = request(market.catalogue.plain[22], token="tok_capture_down")  # noqa: S106
    handle = await start(market, what)

    report = await undone(handle)

    outcomes = {step.step: (step.outcome, step.undo) for step in report.steps}
    assert outcomes["ConfirmPayment"] == (Outcome.NOT_APPLIED, None)
    assert outcomes["AuthorizePayment"] == (Outcome.APPLIED, "undone")
    assert (await books(market, handle.id))["state"] == "voided"
    assert (await market.store.load(orders, what.order_id)).state.status is OrderStatus.CANCELLED


async def test_everything_that_was_done_is_undone_once(market: Market) -> None:
    products = market.catalogue.plain[23:26]
    handle = await start(market, request(*products, token="tok_capture_down"))  # noqa: S106

    await undone(handle)

    assert await caused_by(market, handle.id) == {
        "StockReserved": 3,
        "StockReleased": 3,
        "OrderNumbered": 1,
        "OrderPlaced": 1,
        "OrderCancelled": 1,
        "PaymentAuthorized": 1,
        "PaymentVoided": 1,
    }


async def test_a_second_checkout_under_one_order_id_is_refused_and_does_not_harm_the_first(market: Market) -> None:
    product = market.catalogue.plain[26]
    what = request(product, token="tok_slow", quantity=2)  # noqa: S106
    first = await start(market, what)
    await begun(first, "AuthorizePayment")

    report = await undone(await start(market, what, name="-again"))

    assert "reserved before for this order" in str(report.cause)
    assert (await market.store.load(stock_item, product.product_id)).state.held == {what.order_id: 2}
    assert (await first.result()).order_id == what.order_id


async def test_an_order_that_a_voucher_pays_for_is_shipped(market: Market) -> None:
    product = market.catalogue.plain[27]
    free = line(product).model_copy(update={"voucher": product.unit_price, "freight": 0})
    what = request(product).model_copy(update={"lines": (free,)})

    receipt = await (await start(market, what)).result()

    assert (receipt.totals.invoice, receipt.packages) == (0, 1)


async def test_a_checkout_of_which_nothing_could_be_reserved_is_refused_even_if_part_of_it_would_do(
    market: Market,
) -> None:
    what = request(*market.catalogue.scarce, quantity=10, partial=True)

    report = await undone(await start(market, what))

    assert report.cause == "nothing could be reserved"
    assert await caused_by(market, f"checkout-{what.order_id}") == {}


async def test_of_all_events_only_the_shipment_holds_the_address_and_that_sealed(market: Market) -> None:
    what = request(market.catalogue.plain[28])
    handle = await start(market, what)
    await handle.result()

    street = what.address.street
    holding = [
        each
        for each in await market.store.read(limit=10**6)
        if each.metadata.get("saga") == handle.id and street in each.data
    ]
    assert [each.event_type for each in holding] == ["ShipmentCreated"]
    query = "select count(*) from events where event_data::text like %s"
    async with market.store.connection() as connection:
        assert await (await connection.execute(query, (f"%{street}%",))).fetchall() == [(0,)]
