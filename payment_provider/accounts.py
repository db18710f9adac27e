"""What the provider knows: one record per idempotency key, kept in a file if one is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    AUTHORIZED = "authorized"
    DECLINED = "declined"
    VOIDED = "voided"
    CAPTURED = "captured"
    BARRED = "barred"
    """Voided before it was ever authorised: it cannot be authorised any more."""


class Refused(Exception):
    """The request contradicts what happened before, and always will. `code` is for programs."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class KeyReused(Exception):
    """The key belongs to a request that said something else."""


@dataclass
class Payment:
    """The amount held, or not, under one authorisation key. In minor units."""

    key: str
    state: State
    amount: int = 0
    token: str | None = None
    captures: list[str] = field(default_factory=list)
    """The keys of the captures: never more than one."""


class Accounts:
    """The provider's books. Every operation may be repeated with its key and then says what it said before."""

    def __init__(self, file: Path | None = None) -> None:
        self._payments: dict[str, Payment] = {}
        self._captures: dict[str, Payment] = {}
        self._abandoned: set[str] = set()
        """Capture keys that were asked about before they were used: they cannot be used any more."""
        self._file = file
        for line in file.read_text(encoding="utf-8").splitlines() if file and file.exists() else ():
            self._apply(json.loads(line))

    def __iter__(self) -> Iterator[Payment]:
        return iter(self._payments.values())

    def find(self, key: str) -> Payment | None:
        return self._payments.get(key)

    def authorize(self, key: str, amount: int, token: str | None, *, declined: bool) -> Payment:
        payment = self._payments.get(key)
        if payment is None:
            return self._save(Payment(key, State.DECLINED if declined else State.AUTHORIZED, amount, token))
        if payment.state is State.BARRED:
            raise Refused(State.VOIDED)
        if (payment.amount, payment.token) != (amount, token):
            raise KeyReused
        return payment

    def void(self, key: str) -> Payment:
        payment = self._payments.get(key) or Payment(key, State.BARRED)
        if payment.state is State.CAPTURED:
            raise Refused(State.CAPTURED)
        if payment.state is State.AUTHORIZED:
            payment.state = State.VOIDED
        return self._save(payment)

    def capture(self, key: str, authorization: str, amount: int) -> Payment:
        earlier = self._captures.get(key)
        if earlier and (earlier.key, earlier.amount) != (authorization, amount):
            raise KeyReused
        return earlier or self._capture(key, authorization, amount)

    def _capture(self, key: str, authorization: str, amount: int) -> Payment:
        payment = self._payments.get(authorization)
        if payment is None:
            raise Refused("unknown_authorization")
        if key in self._abandoned:
            raise Refused("abandoned")
        if payment.state is not State.AUTHORIZED:
            raise Refused(payment.state)
        if payment.amount != amount:
            raise Refused("wrong_amount")
        payment.state = State.CAPTURED
        payment.captures.append(key)
        return self._save(payment)

    def settle(self, key: str) -> bool:
        """Whether the capture with this key happened. If not, it never will."""
        if key in self._captures:
            return True
        self._abandoned.add(key)
        self._write({"abandoned": key})
        return False

    def _save(self, payment: Payment) -> Payment:
        self._write(asdict(payment))
        self._enter(payment)
        return payment

    def _enter(self, payment: Payment) -> None:
        self._payments[payment.key] = payment
        self._captures.update(dict.fromkeys(payment.captures, payment))

    def _write(self, record: dict[str, object]) -> None:
        if self._file:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def _apply(self, record: dict[str, object]) -> None:
        if "abandoned" in record:
            self._abandoned.add(str(record["abandoned"]))
        else:
            payment = Payment(**record)  # type: ignore[arg-type]
            payment.state = State(payment.state)
            self._enter(payment)
