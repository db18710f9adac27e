"""The payment service: what it decides here, and what it asks the provider for."""

from __future__ import annotations

from activities.payment_port import PaymentProvider
from counteract import Dispatch, Happened, NeverHappened, Settle, Streams, Undo, compensates, handles, settles
from domain import payments
from domain.payments import Authorization, AuthorizePayment, Capture, ConfirmPayment


@handles(AuthorizePayment, effect="external")
async def authorize_payment(
    command: AuthorizePayment, streams: Streams, dispatch: Dispatch, provider: PaymentProvider
) -> Authorization:
    authorization = await provider.authorize(str(dispatch.command_id), command.amount, command.payment)
    payment = await streams.load(payments.payments, command.order_id)
    payment.append(*payments.authorized(payment.state, command, authorization))
    return Authorization(authorization=authorization)


@compensates(AuthorizePayment)
async def void_payment(
    undo: Undo[AuthorizePayment, Authorization], streams: Streams, provider: PaymentProvider
) -> None:
    """Safe when nothing was authorised: the provider then refuses what may come late under this key."""
    await provider.void(str(undo.command_id))
    payment = await streams.load(payments.payments, undo.command.order_id)
    payment.append(*payments.voided(payment.state))


@handles(ConfirmPayment, effect="external")
async def confirm_payment(
    command: ConfirmPayment, streams: Streams, dispatch: Dispatch, provider: PaymentProvider
) -> Capture:
    captured = await provider.capture(str(dispatch.command_id), command.authorization, command.amount)
    payment = await streams.load(payments.payments, command.order_id)
    payment.append(*payments.captured(payment.state, command.amount))
    return Capture(payment=captured)


@settles(ConfirmPayment)
async def settle_confirmation(
    settle: Settle[ConfirmPayment], streams: Streams, provider: PaymentProvider
) -> Happened[Capture] | NeverHappened:
    captured = await provider.captured_or_never(str(settle.command_id))
    if captured is None:
        return NeverHappened()
    payment = await streams.load(payments.payments, settle.command.order_id)
    payment.append(*payments.captured(payment.state, settle.command.amount))
    return Happened(Capture(payment=captured))
