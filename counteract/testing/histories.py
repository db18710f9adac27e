"""Recorded workflow histories: fetched from a server, kept as the JSON that the Web UI and the CLI also read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory

from counteract.errors import CounteractError

_OF_THE_MACHINE = {"identity", "stackTrace"}


class UnreadableHistory(CounteractError):
    """A file holds no recorded history, or one that cannot be decoded: record it anew, or give `replay` its client."""


@dataclass(frozen=True)
class RecordedHistory(WorkflowHistory):
    """A workflow's history, with the client that fetched it and so can decode it."""

    client: Client = field(repr=False, compare=False)


async def record(client: Client, workflow_id: str, file: Path) -> RecordedHistory:
    """Write the history of the workflow's latest run to `file`, and return it.

    What a codec encoded stays so in the file, which may be shared; to replay it, `replay` needs that codec again.
    """
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    _write(history, file)
    return RecordedHistory(history.workflow_id, history.events, client)


def recorded(folder: Path) -> Iterator[tuple[Path, WorkflowHistory]]:
    """The recorded histories (`*.json`) in `folder` with their files, by file name. Raises UnreadableHistory."""
    for file in sorted(folder.glob("*.json")):
        yield file, read(file)


def read(file: Path) -> WorkflowHistory:
    """The recorded history in this file, for `replay`. Raises UnreadableHistory."""
    try:
        events = json.loads(file.read_text())
        # The ids of a saga's commands depend on its workflow id.
        started = events["events"][0]["workflowExecutionStartedEventAttributes"]
        return WorkflowHistory.from_json(started["workflowId"], events)
    except (json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise UnreadableHistory(f"{file} is no workflow history: {error!r}") from error


def _write(history: WorkflowHistory, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    events = _impersonal(json.loads(history.to_json()))
    file.write_text(json.dumps(events, indent=1, sort_keys=True) + "\n")


def _impersonal(part: Any) -> Any:
    """The same without host names and the paths in stack traces, which replay does not need and nobody should share."""
    if isinstance(part, dict):
        if part.get("kind") == "TASK_QUEUE_KIND_STICKY":
            return {**part, "name": "sticky"}
        return {name: _impersonal(value) for name, value in part.items() if name not in _OF_THE_MACHINE}
    return [_impersonal(each) for each in part] if isinstance(part, list) else part
