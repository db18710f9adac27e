"""A master key is changed to its end: all keys of persons come under the new one, and the earlier one is needed no more."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from counteract.errors import MasterKeyMissing, PersonalDataLocked, StoreError
from counteract.store import MasterKey, PostgresEventStore
from counteract.store.checks.doctor import diagnose
from counteract.store.checks.finding import Finding, Verdict
from counteract.store.master_key import MASTER_KEY_FILE_VARIABLE, MASTER_KEY_VARIABLE, KeyWrapper
from counteract.store.postgres.rewrap import Rewrapped, rewrap
from tests.commands import counteract
from tests.customers import email_of, register

pytestmark = pytest.mark.integration

OLD, NEW = MasterKey.new(), MasterKey.new()
EARLIER, LATER, BOTH = MasterKey.parse(OLD), MasterKey.parse(NEW), MasterKey.parse(f"{NEW},{OLD}")
NAMES = [f"guest-{number}" for number in range(5)]


class Service:
    """A key management service, as far as a `KeyWrapper` knows: it counts what it is asked, and may fail."""

    name = "service/key-1"

    def __init__(self, key: MasterKey) -> None:
        self.key = key
        self.asked = 0
        self.fails = False
        self.garbles = False

    async def wrap(self, secret: bytes, context: bytes) -> bytes:
        return b"kms:" + await self.key.wrap(bytes(32) if self.garbles else secret, context)

    async def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        self.asked += 1
        if self.fails:
            raise ConnectionRefusedError("the service is down")
        if not wrapped.startswith(b"kms:"):
            return await EARLIER.unwrap(wrapped, context)
        return await self.key.unwrap(wrapped[4:], context)


@pytest.fixture
async def kept(app_url: str) -> str:
    """A store of five guests, under the earlier key."""
    async with PostgresEventStore.open(app_url, master_key=EARLIER) as store:
        for name in NAMES:
            await register(store, name)
    return app_url


async def emails(url: str, key: KeyWrapper | None) -> list[Any]:
    async with PostgresEventStore.open(url, master_key=key) as store:
        return [await email_of(store, name) for name in NAMES]


async def finding(url: str, key: KeyWrapper) -> Finding:
    (found,) = [each async for each in diagnose(url, master=key) if each.check == "master key"]
    return found


def rows(url: str, statement: str) -> Sequence[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


async def test_afterwards_the_new_key_alone_opens_everything(kept: str, database_url: str) -> None:
    told: list[Rewrapped] = []
    assert await rewrap(database_url, BOTH, told.append) == Rewrapped(5, 0)
    assert (told[0], told[-1]) == (Rewrapped(0, 5), Rewrapped(5, 0))
    assert await emails(kept, LATER) == [f"{name}@example.com" for name in NAMES]
    with pytest.raises(PersonalDataLocked):
        await emails(kept, EARLIER)
    assert await rewrap(database_url, BOTH) == Rewrapped(0, 0)


async def test_interrupted_it_goes_on_where_it_was(
    kept: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("counteract.store.postgres.rewrap._PAGE", 2)

    def stop(now: Rewrapped) -> None:
        if now.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rewrap(database_url, BOTH, stop)
    assert await emails(kept, BOTH) == [f"{name}@example.com" for name in NAMES]
    assert await rewrap(database_url, BOTH) == Rewrapped(3, 0)


async def test_who_is_forgotten_meanwhile_stays_so(kept: str, database_url: str) -> None:
    class Forgetful(Service):
        async def wrap(self, secret: bytes, context: bytes) -> bytes:
            rows(database_url, "select forget_subject('guest-3')")
            return await super().wrap(secret, context)

    assert await rewrap(database_url, Forgetful(LATER)) == Rewrapped(4, 0)
    assert rows(database_url, "select wrapped_key from personal_keys where subject = 'guest-3'") == [(None,)]


async def test_what_no_key_at_hand_unwraps_is_named_and_left_as_it_is(kept: str, database_url: str) -> None:
    (key,) = [key for (key,) in rows(kept, "select key_id from personal_keys where subject = 'guest-0'")]
    rows(
        database_url,
        "update personal_keys set wrapped_key = '\\x00112233445566778899aabbccddeeff' where subject = 'guest-0'",
    )
    assert await rewrap(database_url, BOTH) == Rewrapped(4, 1, (key,))
    assert await rewrap(database_url, LATER) == Rewrapped(0, 1, (key,))


async def test_a_key_that_would_not_come_back_replaces_none(kept: str, database_url: str) -> None:
    service = Service(LATER)
    service.garbles = True
    with pytest.raises(StoreError, match="does not unwrap what it has wrapped"):
        await rewrap(database_url, service)
    assert await emails(kept, EARLIER) == [f"{name}@example.com" for name in NAMES]


async def test_only_the_owner_may(kept: str) -> None:
    with pytest.raises(StoreError, match="connect as the owner of the tables"):
        await rewrap(kept, BOTH)


async def test_doctor_says_whether_the_earlier_key_is_still_needed(kept: str, database_url: str) -> None:
    before = await finding(kept, BOTH)
    assert before.verdict is Verdict.ADVICE
    assert "5 were wrapped by another master key" in before.what
    assert "counteract personal rewrap" in before.remedy
    await rewrap(database_url, BOTH)
    after = await finding(kept, LATER)
    assert (after.verdict, after.facts["under_others"]) == (Verdict.OK, 0)
    assert "no earlier one is needed" in after.what


async def test_a_key_management_service_wraps_and_unwraps(kept: str, database_url: str) -> None:
    service = Service(LATER)
    await rewrap(database_url, service)
    asked = service.asked
    assert await emails(kept, service) == [f"{name}@example.com" for name in NAMES]
    assert service.asked > asked
    async with PostgresEventStore.open(kept, master_key=service) as store:
        await register(store, "new")
        assert await email_of(store, "new") == "new@example.com"
        assert rows(kept, "select distinct wrapped_by from personal_keys") == [("service/key-1",)]
        service.fails = True
        with pytest.raises(ConnectionRefusedError):
            await email_of(store, "new")
    assert (await finding(kept, service)).verdict is Verdict.PROBLEM


async def test_a_master_key_may_come_from_a_file(kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_KEY_VARIABLE, raising=False)
    with pytest.raises(MasterKeyMissing):
        await emails(kept, None)
    (tmp_path / "keys").write_text(f"{NEW}\n{OLD}\n")
    monkeypatch.setenv(MASTER_KEY_FILE_VARIABLE, str(tmp_path / "keys"))
    assert await emails(kept, None) == [f"{name}@example.com" for name in NAMES]


KMS = """
from counteract.store import MasterKey

class Service:
    name = "service/key-2"
    keys = MasterKey.parse("{new},{old}")

    async def wrap(self, secret, context):
        return await self.keys.wrap(secret, context)

    async def unwrap(self, wrapped, context):
        return await self.keys.unwrap(wrapped, context)

def service():
    return Service()
"""


@pytest.mark.program
@pytest.mark.parametrize("command", ["personal rewrap", "store verify --modules kms"])
async def test_a_key_management_service_that_does_not_answer_is_told_in_one_line(
    kept: str, database_url: str, tmp_path: Path, command: str
) -> None:
    is_down = 'raise ConnectionRefusedError("the service is down")'
    kms = KMS.format(old=OLD, new=NEW).replace("return await self.keys.unwrap(wrapped, context)", is_down)
    (tmp_path / "kms.py").write_text(f"{kms}\nfrom counteract import Event\nclass Noted(Event): pass")
    (tmp_path / "pyproject.toml").write_text('[tool.counteract]\nmaster-key = "kms:service"\n')
    environment = {name: value for name, value in os.environ.items() if name != MASTER_KEY_VARIABLE}
    refused = await counteract(
        *command.split(), environment=environment | {"DATABASE_URL": database_url}, folder=tmp_path
    )
    assert (refused.returncode, refused.stderr) == (1, "the service is down\n")


@pytest.mark.program
@pytest.mark.parametrize("where", ["environment", "pyproject.toml"])
async def test_a_person_runs_it(kept: str, database_url: str, tmp_path: Path, where: str) -> None:
    environment: Mapping[str, str] = os.environ | {"DATABASE_URL": database_url, MASTER_KEY_VARIABLE: f"{NEW},{OLD}"}
    if where != "environment":
        (tmp_path / "kms.py").write_text(KMS.format(old=OLD, new=NEW))
        (tmp_path / "pyproject.toml").write_text('[tool.counteract]\nmaster-key = "kms:service"\n')
        environment = {name: value for name, value in environment.items() if name != MASTER_KEY_VARIABLE}
    done = await counteract("personal", "rewrap", environment=environment, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "5 keys rewrapped, 0 left",
        "the earlier master key can go, once no process has it first any more",
    ]
    told = await counteract("doctor", "--json", "--no-temporal", environment=environment, folder=tmp_path)
    checks = {each["check"]: each for each in json.loads(told.stdout)["checks"]}
    assert checks["master key"]["verdict"] == "ok"
