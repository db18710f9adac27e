"""The payment provider as the payment service needs it, and the adapter to the one we run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Protocol, Self

import aiohttp

from counteract import CounteractError, Rejected
from domain.payments import PaymentMethod

TIME_LIMIT = 2.0
"""Seconds for one request: shorter than the attempt of any command that makes one."""


_REFUSALS: dict[int, str] = {
    HTTPStatus.PAYMENT_REQUIRED: "payment declined",
    HTTPStatus.CONFLICT: "payment no longer possible",
}


class PaymentProvider(Protocol):
    """Every call may be repeated with its key, and then has no further effect. Other errors mean: unknown, ask again."""

    async def authorize(self, key: str, amount: int, payment: PaymentMethod) -> str:
        """Hold the amount; the authorisation's name. Raises Rejected when it is declined."""
        ...

    async def void(self, key: str) -> None:
        """Let go of what was authorised under this key; if nothing was, nothing ever will be."""
        ...

    async def capture(self, key: str, authorization: str, amount: int) -> str:
        """Take what is held; the payment's name. Raises Rejected when it is no longer held."""
        ...

    async def captured_or_never(self, key: str) -> str | None:
        """The payment captured under this key; None if there is none, and then there never will be."""
        ...


class PaymentProviderFailed(CounteractError):
    """The provider gave no usable answer: what it did is unknown; ask again with the same key."""


class HttpPaymentProvider(PaymentProvider):
    """Over HTTP, with the key as `Idempotency-Key`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Self]:
        timeout = aiohttp.ClientTimeout(total=TIME_LIMIT)
        async with aiohttp.ClientSession(base_url=url, timeout=timeout) as session:
            yield cls(session)

    async def authorize(self, key: str, amount: int, payment: PaymentMethod) -> str:
        token = payment.card.token if payment.card else None
        answer = await self._post("/authorizations", key, {"amount": amount, "token": token})
        return str(answer["authorization"])

    async def void(self, key: str) -> None:
        await self._post(f"/authorizations/{key}/void", key)

    async def capture(self, key: str, authorization: str, amount: int) -> str:
        answer = await self._post("/captures", key, {"authorization": authorization, "amount": amount})
        return str(answer["payment"])

    async def captured_or_never(self, key: str) -> str | None:
        answer = await self._post(f"/captures/{key}/settle", key)
        return str(answer["payment"]) if answer["payment"] is not None else None

    async def _post(self, path: str, key: str, body: dict[str, Any] | None = None) -> Any:
        try:
            async with self._session.post(path, json=body, headers={"Idempotency-Key": key}) as response:
                return _understood(response.status, await response.json())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise PaymentProviderFailed(f"the payment provider gave no answer: {_what(error)}") from error


def _understood(status: int, answer: Any) -> Any:
    """The answer of a request that was carried out. Raises Rejected for those that never will be."""
    if status in _REFUSALS:
        raise Rejected(_REFUSALS[status], code=answer["code"])
    if status >= HTTPStatus.BAD_REQUEST:
        raise PaymentProviderFailed(f"the payment provider answered {status}: {answer.get('code', 'no code')}")
    return answer


def _what(error: Exception) -> str:
    """An answer that is no JSON comes from something between us and the provider, or from a provider in trouble."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"status {error.status}"
    return type(error).__name__
