"""Snapshots: states kept in the database, so that a long stream need not be folded from its start."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints
from weakref import WeakKeyDictionary

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from counteract.decider import Decider
from counteract.errors import StoreError
from counteract.messages import StreamId
from counteract.store.postgres.connect import Connection
from counteract.store.postgres.driver_errors import translated
from counteract.store.postgres.fingerprint import UnknownCode, fingerprint
from counteract.store.signatures import Signature

S = TypeVar("S")

_logger = logging.getLogger("counteract.store")

# An older snapshot never replaces a newer one of the same code. One of other code it does replace, or a return to
# earlier code would never have one again.
_KEEP = """
    insert into snapshots as s (aggregate_type, aggregate_id, fingerprint, version, state, signature)
    values (%s, %s, %s, %s, %s, %s)
    on conflict (aggregate_type, aggregate_id) do update
        set fingerprint = excluded.fingerprint, version = excluded.version, state = excluded.state,
            signature = excluded.signature, taken_at = clock_timestamp()
        where s.fingerprint <> excluded.fingerprint or s.version < excluded.version or %s
"""


@dataclass(eq=False)
class SnapshotForm(Generic[S]):
    """The form in which one decider's states are kept."""

    fingerprint: str
    _adapter: TypeAdapter[S]

    def dump(self, state: S) -> str | None:
        """The state as JSON text; None where it would not come back as it is."""
        try:
            text = self._adapter.dump_json(state)
            return text.decode() if self._adapter.validate_json(text) == state else None
        except (ValueError, TypeError):
            return None

    def load(self, text: str) -> S:
        """The state from JSON text. Raises ValueError where it cannot be read."""
        return self._adapter.validate_json(text)


_forms: WeakKeyDictionary[Decider[Any, Any], SnapshotForm[Any] | None] = WeakKeyDictionary()


def snapshot_form(decider: Decider[S, Any]) -> SnapshotForm[S] | None:
    """The form of a decider's states; None where they cannot be kept.

    States that hold personal data are not kept, for that must not outlive its key, nor states without a form in JSON.
    """
    if decider not in _forms:
        _forms[decider] = _form(decider)
    return _forms[decider]


def _form(decider: Decider[S, Any]) -> SnapshotForm[S] | None:
    if holds_personal_data(decider):
        return None
    try:
        return _form_of_code(decider)
    except UnknownCode as error:
        _logger.warning(
            "states of %r are not kept as snapshots: %s; give the decider a version=, another one whenever that changes",
            decider.aggregate_type,
            error,
        )
    except (NameError, TypeError, PydanticSchemaGenerationError, PydanticUserError) as error:
        _logger.info("states of %r are not kept as snapshots: %s", decider.aggregate_type, error)
    return None


def _form_of_code(decider: Decider[S, Any]) -> SnapshotForm[S]:
    state_type = get_type_hints(decider.evolve).get("return", type(decider.initial))
    return SnapshotForm(fingerprint(decider, state_type), TypeAdapter(state_type))


def holds_personal_data(decider: Decider[Any, Any]) -> bool:
    """Whether events of the decider have personal data."""
    return any(each.personal for each in decider.event_classes)


async def keep_snapshot(
    connection: Connection,
    form: SnapshotForm[S],
    stream: StreamId,
    version: int,
    state: S,
    *,
    signature: Signature | None,
    instead: bool,
) -> int | None:
    """Keep a state as a snapshot; the size of its text, or None where it cannot be kept.

    A failure is only logged: the load before has succeeded. `instead` replaces whatever snapshot is there, which cannot
    be gone on from.
    """
    text = form.dump(state)
    if text is None:
        _logger.warning("a state of %r is not kept: it does not come back from JSON as it is", stream.aggregate_type)
        return None
    try:
        with translated():
            signed = signature.of(*stream, form.fingerprint, version, text) if signature else None
            await connection.execute(_KEEP, (*stream, form.fingerprint, version, text, signed, instead))
    except StoreError as error:
        _logger.warning("a snapshot of %r could not be kept: %s", stream.aggregate_type, error)
    return len(text)
