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
    """Also of a key that was voided before it was ever authorised: it cannot be authorised any more."""
    CAPTURED = "captured"


class Refused(Exception):
    """The request contradicts what happened before, and always will. `code` is for programs."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Payment:
    """The amount held, or not, under one authorisation key. In minor units."""

    key: str
    state: State
    amount: int = 0
    captures: list[str] = field(default_factory=list)
    """The keys of the captures: never more than one."""


class Accounts:
    """The provider's books. Every operation may be repeated with its key and then says what it said before."""

    def __init__(self, file: Path | None = None) -> None:
        self._payments: dict[str, Payment] = {}
        self._abandoned: set[str] = set()
        """Capture keys that were asked about before they were used: they cannot be used any more."""
        self._file = file
        for line in file.read_text(encoding="utf-8").splitlines() if file and file.exists() else ():
            self._apply(json.loads(line))

    def __iter__(self) -> Iterator[Payment]:
        return iter(self._payments.values())

    def authorize(self, key: str, amount: int, *, declined: bool) -> Payment:
        payment = self._payments.get(key)
        if payment is None:
            state = State.DECLINED if declined else State.AUTHORIZED
            payment = self._save(Payment(key, state, amount))
        if payment.amount != amount and payment.state is not State.VOIDED:
            raise Refused("key_reused")
        return payment

    def void(self, key: str) -> Payment:
        payment = self._payments.get(key) or Payment(key, State.VOIDED)
        if payment.state is State.CAPTURED:
            raise Refused("captured")
        payment.state = State.DECLINED if payment.state is State.DECLINED else State.VOIDED
        return self._save(payment)

    def capture(self, key: str, authorization: str, amount: int) -> Payment:
        payment = self._payments.get(authorization)
        if payment is None:
            raise Refused("unknown_authorization")
        if key in payment.captures:
            return payment
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
        if any(key in payment.captures for payment in self):
            return True
        self._abandoned.add(key)
        self._write({"abandoned": key})
        return False

    def _save(self, payment: Payment) -> Payment:
        self._payments[payment.key] = payment
        self._write(asdict(payment))
        return payment

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
            self._payments[payment.key] = payment
