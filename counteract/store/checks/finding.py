"""Findings: what an examination says of one thing that it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """The result of one check."""

    OK = "ok"
    ADVICE = "advice"
    """The store works, and could be safer."""
    PROBLEM = "problem"
    SKIPPED = "skipped"
    """The check could not be made."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one thing, in words for people and in facts for programs."""

    check: str
    verdict: Verdict
    what: str
    remedy: str = ""
    """The reader's next move."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The finding for programs, in values that JSON can hold."""


def ok(check: str, what: str, **facts: Any) -> Finding:
    """A finding that all is well."""
    return Finding(check, Verdict.OK, what, facts=facts)


def advice(check: str, what: str, remedy: str, **facts: Any) -> Finding:
    """A finding that something works and could be safer."""
    return Finding(check, Verdict.ADVICE, what, remedy, facts)


def problem(check: str, what: str, remedy: str, **facts: Any) -> Finding:
    """A finding that something keeps the store from working."""
    return Finding(check, Verdict.PROBLEM, what, remedy, facts)


def skipped(check: str, what: str, remedy: str = "") -> Finding:
    """A finding that something could not be looked at."""
    return Finding(check, Verdict.SKIPPED, what, remedy)
