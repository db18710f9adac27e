"""What an examination says of one thing that it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    OK = "ok"
    ADVICE = "advice"
    """It works, and could be safer."""
    PROBLEM = "problem"
    SKIPPED = "skipped"
    """It could not be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    verdict: Verdict
    what: str
    remedy: str = ""
    """The reader's next move."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs: what JSON can hold."""


def ok(check: str, what: str, **facts: Any) -> Finding:
    return Finding(check, Verdict.OK, what, facts=facts)


def advice(check: str, what: str, remedy: str, **facts: Any) -> Finding:
    return Finding(check, Verdict.ADVICE, what, remedy, facts)


def problem(check: str, what: str, remedy: str, **facts: Any) -> Finding:
    return Finding(check, Verdict.PROBLEM, what, remedy, facts)


def skipped(check: str, what: str, remedy: str = "") -> Finding:
    return Finding(check, Verdict.SKIPPED, what, remedy)
