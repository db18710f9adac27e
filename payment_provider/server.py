"""The provider's HTTP interface, and its moods.

    POST /authorizations              {"amount", "token"}            Idempotency-Key
    POST /authorizations/{key}/void
    POST /captures                    {"authorization", "amount"}    Idempotency-Key
    POST /captures/{key}/settle       whether it happened; if not, it never will
    GET  /authorizations/{key}, /payments, /health

A repeat with its key gets the first answer, and 422 where it says something else. 402: declined. 409: not any more.

Card tokens choose the mood. Of authorisations: `tok_declined`, `tok_flaky` (fails twice, then works), `tok_slow` (acts,
and answers its first request too late), `tok_silent` (acts, and answers every request too late). Of captures:
`tok_capture_down` (always fails), `tok_capture_silent` (acts, and answers every request too late).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

from aiohttp import web
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from payment_provider.accounts import Accounts, KeyReused, Refused, State

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOO_LATE = 30.0
"""Seconds: longer than any client waits."""


@dataclass(frozen=True, slots=True)
class Moods:
    """How the provider misbehaves without being asked to."""

    latency: float = 0.0
    """Mean seconds before it acts."""
    fault_rate: float = 0.0
    """The share of requests answered with 503, half of them after it has acted."""
    decline_rate: float = 0.0


class AuthorizationRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount: NonNegativeInt
    token: str | None = None
    """None: no card, a boleto."""


class CaptureRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    authorization: str
    amount: NonNegativeInt


class Provider:
    """Answers requests from its books, in the mood of the day."""

    def __init__(self, accounts: Accounts, moods: Moods) -> None:
        self._accounts = accounts
        self._moods = moods
        self._asked: Counter[str] = Counter()

    def application(self) -> web.Application:
        application = web.Application(middlewares=[refusals, self._mood])
        application.add_routes(
            [
                web.post("/authorizations", self.authorize),
                web.get("/authorizations/{key}", self.status),
                web.post("/authorizations/{key}/void", self.void),
                web.post("/captures", self.capture),
                web.post("/captures/{key}/settle", self.settle),
                web.get("/payments", self.payments),
                web.get("/health", self.health),
            ]
        )
        return application

    async def authorize(self, request: web.Request) -> web.Response:
        key, order = _key(request), AuthorizationRequest.model_validate_json(await request.read())
        self._asked[key] += 1
        mood = order.token
        if mood == "tok_flaky" and self._asked[key] <= 2:
            raise web.HTTPServiceUnavailable
        declined = mood == "tok_declined" or random.random() < self._moods.decline_rate  # noqa: S311
        payment = self._accounts.authorize(key, order.amount, order.token, declined=declined)
        if mood == "tok_silent" or (mood == "tok_slow" and self._asked[key] == 1):
            await asyncio.sleep(TOO_LATE)
        if payment.state is State.DECLINED:
            return web.json_response({"code": "card_declined"}, status=402)
        if payment.state is State.VOIDED:
            raise Refused(State.VOIDED)
        return web.json_response({"authorization": key}, status=201)

    async def status(self, request: web.Request) -> web.Response:
        payment = self._accounts.find(request.match_info["key"])
        if payment is None:
            return web.json_response({"code": "unknown_authorization"}, status=404)
        return web.json_response(asdict(payment))

    async def void(self, request: web.Request) -> web.Response:
        self._accounts.void(request.match_info["key"])
        return web.json_response({})

    async def capture(self, request: web.Request) -> web.Response:
        key, order = _key(request), CaptureRequest.model_validate_json(await request.read())
        mood = self._token(order.authorization)
        if mood == "tok_capture_down":
            raise web.HTTPServiceUnavailable
        self._accounts.capture(key, order.authorization, order.amount)
        if mood == "tok_capture_silent":
            await asyncio.sleep(TOO_LATE)
        return web.json_response({"payment": key}, status=201)

    async def settle(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        return web.json_response({"payment": key if self._accounts.settle(key) else None})

    async def payments(self, _: web.Request) -> web.Response:
        return web.json_response([asdict(payment) for payment in self._accounts])

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    def _token(self, key: str) -> str | None:
        payment = self._accounts.find(key)
        return payment.token if payment else None

    @web.middleware
    async def _mood(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "GET":
            return await handler(request)
        await asyncio.sleep(random.expovariate(1 / self._moods.latency) if self._moods.latency else 0)
        fault = random.random()  # noqa: S311 - a mood, no secret
        if fault < self._moods.fault_rate / 2:
            raise web.HTTPServiceUnavailable
        response = await handler(request)
        if fault < self._moods.fault_rate:
            raise web.HTTPServiceUnavailable
        return response


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals and invalid requests as JSON, without what was sent."""
    try:
        return await handler(request)
    except Refused as refusal:
        return web.json_response({"code": refusal.code}, status=409)
    except KeyReused:
        return web.json_response({"code": "key_reused"}, status=422)
    except ValidationError as error:
        fields = [".".join(map(str, each["loc"])) or "body" for each in error.errors(include_input=False)]
        return web.json_response({"code": "invalid", "fields": fields}, status=422)


def _key(request: web.Request) -> str:
    key = request.headers.get("Idempotency-Key")
    if not key:
        raise web.HTTPBadRequest(text="an Idempotency-Key header is needed")
    return key
