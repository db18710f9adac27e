"""The payment provider as a process of its own, and the adapter that the payment service talks to it through."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import pytest
from pydantic import BaseModel

from activities.payment_port import HttpPaymentProvider, PaymentProviderFailed
from counteract import Rejected
from counteract.dev.ports import free_port
from counteract.dev.process import GuardedProcess, Launch
from domain.payments import Card, Method, PaymentMethod

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


class Answer(BaseModel):
    status: int
    body: Any


@dataclass
class Provider:
    """A running provider, spoken to without the adapter where that would hide what it says."""

    process: GuardedProcess
    port: HttpPaymentProvider
    session: aiohttp.ClientSession

    async def post(self, path: str, key: str, **body: Any) -> Answer:
        async with self.session.post(path, json=body, headers={"Idempotency-Key": key}) as response:
            return Answer(status=response.status, body=await response.json())

    async def payment(self, key: str) -> Any:
        async with self.session.get(f"/authorizations/{key}") as response:
            return await response.json()


@asynccontextmanager
async def provider_on(folder: Path, *options: str) -> AsyncIterator[Provider]:
    number = free_port()
    command = [sys.executable, "-m", "payment_provider", "--port", str(number), *options]
    process = await GuardedProcess.start(Launch(name="provider", command=command, log=folder / "provider.log"))
    try:
        async with asyncio.timeout(20):
            while not process.printed("ready"):
                assert not process.has_ended, process.reason()
                await asyncio.sleep(0.02)
        url = f"http://127.0.0.1:{number}"
        async with HttpPaymentProvider.open(url) as port, aiohttp.ClientSession(base_url=url) as session:
            yield Provider(process, port, session)
    finally:
        await process.stop()


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Provider]:
    async with provider_on(tmp_path_factory.mktemp("provider")) as provider:
        yield provider


@pytest.fixture
def provider(shared: Provider) -> Provider:
    """One process for the tests that leave nothing behind but keys of their own."""
    return shared


@pytest.fixture
def key() -> str:
    return str(uuid4())


def card(token: str = "tok_fine") -> PaymentMethod:  # noqa: S107 - a mood of the provider
    holder = Card(token=token, holder="Ann Lee", last_four="4242", expires="12/30")
    return PaymentMethod(method=Method.CREDIT_CARD, card=holder)


async def test_what_is_authorised_can_be_captured_once(provider: Provider, key: str) -> None:
    authorization = await provider.port.authorize(key, 500, card())
    first = await provider.port.capture(f"{key}-c", authorization, 500)
    assert await provider.port.capture(f"{key}-c", authorization, 500) == first
    with pytest.raises(Rejected, match="payment no longer possible"):
        await provider.port.capture(f"{key}-d", authorization, 500)
    assert (await provider.payment(key))["captures"] == [f"{key}-c"]


async def test_an_authorisation_repeated_with_its_key_is_one_authorisation(provider: Provider, key: str) -> None:
    answers = {await provider.port.authorize(key, 500, card()) for _ in range(3)}
    assert answers == {key}


async def test_a_boleto_needs_no_card(provider: Provider, key: str) -> None:
    assert await provider.port.authorize(key, 500, PaymentMethod(method=Method.BOLETO)) == key


async def test_an_order_that_costs_nothing_can_be_paid(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 0, card())
    assert await provider.port.capture(f"{key}-c", key, 0) == f"{key}-c"


@pytest.mark.parametrize("changed", [{"amount": 501}, {"token": "tok_other"}], ids=str)
async def test_a_key_used_again_for_something_else_is_refused(
    provider: Provider, key: str, changed: dict[str, Any]
) -> None:
    asked = {"amount": 500, "token": "tok_fine"}
    await provider.post("/authorizations", key, **asked)
    again = await provider.post("/authorizations", key, **(asked | changed))
    assert again == Answer(status=422, body={"code": "key_reused"})


async def test_a_capture_key_used_again_for_another_payment_is_refused(provider: Provider, key: str) -> None:
    for each in (f"{key}-1", f"{key}-2"):
        await provider.port.authorize(each, 500, card())
    await provider.port.capture(key, f"{key}-1", 500)
    again = await provider.post("/captures", key, authorization=f"{key}-2", amount=500)
    assert again == Answer(status=422, body={"code": "key_reused"})


async def test_a_declined_card_is_a_refusal_with_a_code(provider: Provider, key: str) -> None:
    for _ in range(2):
        with pytest.raises(Rejected) as refusal:
            await provider.port.authorize(key, 500, card("tok_declined"))
        assert (refusal.value.reason, refusal.value.data) == ("payment declined", {"code": "card_declined"})


async def test_voiding_twice_is_voiding_once(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 500, card())
    for _ in range(2):
        await provider.port.void(key)
    assert (await provider.payment(key))["state"] == "voided"


async def test_an_authorisation_that_arrives_after_its_void_is_refused(provider: Provider, key: str) -> None:
    await provider.port.void(key)
    with pytest.raises(Rejected, match="payment no longer possible"):
        await provider.port.authorize(key, 500, card())
    assert (await provider.payment(key))["state"] == "barred"


async def test_what_was_voided_cannot_be_captured(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 500, card())
    await provider.port.void(key)
    with pytest.raises(Rejected) as refusal:
        await provider.port.capture(f"{key}-c", key, 500)
    assert refusal.value.data == {"code": "voided"}


async def test_what_was_captured_cannot_be_voided(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 500, card())
    await provider.port.capture(f"{key}-c", key, 500)
    with pytest.raises(Rejected) as refusal:
        await provider.port.void(key)
    assert refusal.value.data == {"code": "captured"}


async def test_another_amount_than_was_authorised_is_not_captured(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 500, card())
    with pytest.raises(Rejected) as refusal:
        await provider.port.capture(f"{key}-c", key, 499)
    assert refusal.value.data == {"code": "wrong_amount"}


async def test_a_capture_that_happened_is_found_by_its_key(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 500, card())
    await provider.port.capture(f"{key}-c", key, 500)
    assert await provider.port.captured_or_never(f"{key}-c") == f"{key}-c"


async def test_a_capture_that_did_not_happen_when_asked_never_will(provider: Provider, key: str) -> None:
    await provider.port.authorize(key, 500, card())
    assert await provider.port.captured_or_never(f"{key}-c") is None
    with pytest.raises(Rejected, match="payment no longer possible"):
        await provider.port.capture(f"{key}-c", key, 500)


async def test_a_provider_in_trouble_says_so_twice_and_then_works(provider: Provider, key: str) -> None:
    for _ in range(2):
        with pytest.raises(PaymentProviderFailed, match="status 503"):
            await provider.port.authorize(key, 500, card("tok_flaky"))
    assert await provider.port.authorize(key, 500, card("tok_flaky")) == key


async def test_an_answer_that_is_lost_is_there_for_the_next_request_with_the_key(provider: Provider, key: str) -> None:
    with pytest.raises(PaymentProviderFailed, match="TimeoutError"):
        await provider.port.authorize(key, 500, card("tok_slow"))
    assert (await provider.payment(key))["state"] == "authorized"
    assert await provider.port.authorize(key, 500, card("tok_slow")) == key


async def test_a_request_that_it_does_not_understand_is_no_refusal_and_is_not_repeated_to_us(
    provider: Provider, key: str
) -> None:
    answer = await provider.post("/authorizations", key, amount=-1)
    assert answer == Answer(status=422, body={"code": "invalid", "fields": ["amount"]})


async def test_a_provider_that_is_not_there_is_asked_again(tmp_path: Path, key: str) -> None:
    async with provider_on(tmp_path) as provider:
        await provider.process.stop()
        with pytest.raises(PaymentProviderFailed, match="ClientConnectorError"):
            await provider.port.authorize(key, 500, card())


async def test_a_killed_provider_remembers_everything_that_it_answered(tmp_path: Path, key: str) -> None:
    state = ("--state", str(tmp_path / "books.jsonl"))
    async with provider_on(tmp_path, *state) as provider:
        await provider.port.authorize(f"{key}-held", 500, card())
        await provider.port.authorize(f"{key}-paid", 700, card())
        await provider.port.capture(f"{key}-c", f"{key}-paid", 700)
        await provider.port.void(f"{key}-barred")
        await provider.port.captured_or_never(f"{key}-never")
        await provider.process.kill()

    async with provider_on(tmp_path, *state) as provider:
        assert await provider.port.captured_or_never(f"{key}-c") == f"{key}-c"
        with pytest.raises(Rejected):
            await provider.port.authorize(f"{key}-barred", 500, card())
        with pytest.raises(Rejected):
            await provider.port.capture(f"{key}-never", f"{key}-held", 500)
        await provider.port.void(f"{key}-held")
        assert (await provider.payment(f"{key}-held"))["state"] == "voided"


async def test_with_a_fault_rate_of_one_every_second_fault_comes_after_it_has_acted(tmp_path: Path) -> None:
    async with provider_on(tmp_path, "--fault-rate", "1") as provider:
        keys = [str(uuid4()) for _ in range(40)]
        for each in keys:
            with pytest.raises(PaymentProviderFailed, match="status 503"):
                await provider.port.authorize(each, 500, card())
        acted = [each for each in keys if (await provider.payment(each)).get("state") == "authorized"]
    assert 0 < len(acted) < len(keys)


async def test_it_ends_when_it_is_asked_to_even_with_a_request_under_way(tmp_path: Path, key: str) -> None:
    async with provider_on(tmp_path) as provider:
        asking = asyncio.create_task(provider.port.authorize(key, 500, card("tok_silent")))
        while (await provider.payment(key)).get("state") != "authorized":  # noqa: ASYNC110 - another process decides
            await asyncio.sleep(0.01)
        psutil.Process(provider.process.pid).send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await provider.process.wait() == 0
        with pytest.raises(PaymentProviderFailed):
            await asking
