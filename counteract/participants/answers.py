"""Answers of handlers, made fit to be recorded: a result comes back as it was, and a refusal always stays one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from counteract.commands import MAX_COMMAND_BYTES
from counteract.errors import CounteractError, Rejected
from counteract.messages import CommandSpec
from counteract.storable import Unstorable, read_back, storable, storable_text
from counteract.store.expect import StreamChange

_MAX_FACTS = 100_000
"""The most characters of a refusal's facts that are kept."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request, as it is recorded."""

    status: str
    """`done` or `rejected`."""
    result: str
    """JSON: what a command returned, why it was refused, or what its settlement found."""
    changes: Sequence[StreamChange] = ()
    """The streams that the handler loaded, with what it appends to them."""
    returned: Any = None
    """The result of a command as its handler returned it, before it became JSON."""
    settled: str | None = None
    """JSON: the result of the original, which a settlement found to have happened."""
    began: datetime | None = None
    """When an undo began, by the database's clock: it answers for what came late by then."""


class WrongResult(CounteractError):
    """A handler returned something else than its command declares, or what cannot be stored: correct the handler."""


def written_result(spec: CommandSpec, result: Any, handler: str) -> str:
    """The result as JSON. Raises WrongResult, which does not quote it.

    Asking again would bring the same, so the first attempt is the last: an effect outside has happened by then, and the
    saga undoes it like any step without an answer.
    """
    adapter = spec.result
    try:
        validated = adapter.validate_python(result)
    except ValidationError:
        raise WrongResult(f"{handler} returned {type(result).__name__}, expected {spec.result_type}") from None
    try:
        data = read_back(validated, adapter.validate_json, lambda value: adapter.dump_json(value, by_alias=True))
    except Unstorable as error:
        raise WrongResult(f"what {handler} returned {error}") from None
    if (size := len(data.encode())) > MAX_COMMAND_BYTES:
        what = f"has {size} bytes, more than {MAX_COMMAND_BYTES}: keep what is large elsewhere, and return a link to it"
        raise WrongResult(f"what {handler} returned {what}")
    return data


def facts_of(refusal: Rejected) -> dict[str, Any]:
    """A refusal as JSON values: what JSON or PostgreSQL does not know is put in words, so that it stays a refusal."""
    data = storable(dict(refusal.data))
    if len(str(data)) > _MAX_FACTS:
        data = {"omitted": f"more than {_MAX_FACTS} characters of facts"}
    return {"reason": storable_text(str(refusal.reason)), "data": data}
