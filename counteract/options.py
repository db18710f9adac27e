"""The options of commands, held to what Temporal takes: it would refuse the rest at the first step, again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite
from typing import Any

from counteract.errors import InvalidDeclaration

_ATTEMPT_TIMEOUT = timedelta(seconds=10)
_TIMEOUT = timedelta(minutes=1)

_MAX_NAME = 1000
"""The most bytes that Temporal takes of a task queue's or an activity type's name."""
_MAX_VERSION = 32767
"""The highest version of an event: PostgreSQL keeps it as a smallint."""
_LEAST = timedelta(milliseconds=1)
_MOST = timedelta(days=36500)
_MOST_ATTEMPTS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Retry:
    """How soon an attempt that failed is repeated. A refusal is never repeated.

    Raises InvalidDeclaration for what no server would take, such as an `initial` above the `maximum`.
    """

    initial: timedelta = timedelta(milliseconds=200)
    backoff: float = 2.0
    maximum: timedelta = timedelta(seconds=10)
    attempts: int | None = None
    """None: as many as the command's `timeout` leaves room for."""

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise InvalidDeclaration("a Retry is declared wrongly", problems)

    def _problems(self) -> Iterator[str]:
        times = [*_duration_problems("initial", self.initial), *_duration_problems("maximum", self.maximum)]
        yield from times
        if not times and self.initial > self.maximum:
            yield f"initial is {self.initial}, above the maximum of {self.maximum}: give maximum= as well"
        if not (_is_number(self.backoff) and isfinite(self.backoff) and self.backoff >= 1):
            yield f"backoff is {self.backoff!r}: give 1 for the same pause each time, or more"
        if self.attempts is not None and not _is_count(self.attempts):
            yield f"attempts is {self.attempts!r}: give 1 or more, or None for no limit to them"


def _duration_problems(name: str, value: Any) -> Iterator[str]:
    """The problems of a length of time."""
    if not isinstance(value, timedelta):
        yield f"{name} is {value!r}, not a timedelta"
    elif value < _LEAST:
        yield f"{name} is {_in_seconds(value)}: give at least 1 ms"
    elif value > _MOST:
        yield f"{name} is {value}: give at most {_MOST.days} days"


def check_duration(subject: str, name: str, value: timedelta | None) -> None:
    """Raises InvalidDeclaration for a length of time that Temporal would not take. None stands for no limit."""
    if value is not None and (problems := list(_duration_problems(name, value))):
        raise InvalidDeclaration(subject, problems)


def name_problems(what: str, name: Any) -> Iterator[str]:
    """The problems of a name of a task queue or an activity."""
    if not isinstance(name, str) or not name.strip():
        yield f"{what} is {name!r}: give it a name"
    elif len(name.encode(errors="replace")) > _MAX_NAME:
        yield f"{what} has {len(name.encode(errors='replace'))} bytes, and Temporal takes {_MAX_NAME}: give a shorter name"
    elif "\x00" in name or not name.isprintable():
        yield f"{what} is {name!r}: use only characters that can be printed"


def version_problems(version: int, upcasters: Sequence[int]) -> Iterator[str]:
    """The problems of an event's version and of the versions that its upcasters read, in order."""
    if not 1 <= version <= _MAX_VERSION:
        yield f"version is {version}: give one from 1 to {_MAX_VERSION}"
    elif list(upcasters) != list(range(max(1, version - len(upcasters)), version)):
        given = ", ".join(map(str, upcasters))
        yield (
            f"it is version {version} and has upcasters from version {given}: each version before it that is stored needs "
            f"one, without holes, up to {version - 1}"
        )


def service_problems(name: str, kind: str, service: str | None, compensation: str | None) -> Iterator[str]:
    """The problems of a command's service, and of the name of its undo."""
    if service is None:
        yield f"{name} needs service=, the task queue of its workers"
    else:
        yield from name_problems("service", service)
    if kind != "compensatable":
        if compensation is not None:
            yield f"{name} is {kind} and can have no compensation="
    elif compensation is None:
        yield f"{name} is {kind} and needs compensation=, the name of its undo"
    elif compensation == name:
        yield "its compensation has its own name: call the undo something else"
    else:
        yield from name_problems("compensation", compensation)


def limits(attempt_timeout: timedelta | None, timeout: timedelta | None) -> tuple[timedelta, timedelta]:
    """The limit of one attempt and of all, where one is left out: neither contradicts the one that was given.

    All attempts together have one minute, or twice the time of one where that is more; one attempt has ten seconds, or
    the time of all where that is less.
    """
    if attempt_timeout is None:
        return min(_ATTEMPT_TIMEOUT, timeout or _TIMEOUT), timeout or _TIMEOUT
    return attempt_timeout, timeout or max(_TIMEOUT, 2 * attempt_timeout)


def limit_problems(attempt_timeout: Any, timeout: Any, undo_attempt_timeout: Any = None) -> Iterator[str]:
    """The problems of the time limits that are given; None stands for one that is left out."""
    named = (
        ("attempt_timeout", attempt_timeout),
        ("timeout", timeout),
        ("undo_attempt_timeout", undo_attempt_timeout),
    )
    problems = [each for name, value in named if value is not None for each in _duration_problems(name, value)]
    yield from problems
    if not problems and attempt_timeout and timeout and attempt_timeout > timeout:
        yield (
            f"attempt_timeout is {_in_seconds(attempt_timeout)}, above the timeout of {_in_seconds(timeout)} for all attempts: "
            "leave one of them out, or give a longer timeout"
        )


def _in_seconds(value: timedelta) -> str:
    return f"{value.total_seconds():g} s"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_ATTEMPTS
