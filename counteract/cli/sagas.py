"""`counteract sagas …`: look at sagas, hold them up, and decide about those that are stuck."""

from __future__ import annotations

import asyncio
import getpass
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.close import close_
from counteract.cli.output import say, say_document, say_table
from counteract.cli.prune import prune
from counteract.cli.recover import recover
from counteract.cli.resume import resume
from counteract.cli.temporal import ANSWER_LIMIT, Address, Namespace, Query, WorkflowId, connected, report_of, told
from counteract.cli.troubles import failing_steps, raise_if_code_fails
from counteract.errors import CounteractError

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecution, WorkflowHandle

    from counteract.saga import Resolution
    from counteract.saga.report import StepReport

app = typer.Typer(no_args_is_help=True, help="Look at sagas, hold them up, and decide about those that are stuck.")

app.command("close")(close_)
app.command()(prune)
app.command()(recover)
app.command()(resume)

Json = Annotated[bool, typer.Option("--json", help="One JSON document per saga instead of a table.")]


COLUMNS = ("workflow_id", "saga", "status", "step", "started", "workflow_status")


class Decision(StrEnum):
    """What is to become of a stuck step."""

    RETRY = "retry"
    SKIP = "skip"
    FAIL = "fail"


BECOMES = {Decision.RETRY: "tried again", Decision.SKIP: "skipped", Decision.FAIL: "taken as failed"}


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="RUNNING, COMPENSATING, STUCK, COMPLETED or COMPENSATED.")] = None,
    query: Query = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the latest first.")] = 50,
    as_json: Json = False,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """The sagas that the server knows."""
    conditions = ["SagaStatus IS NOT NULL", f"SagaStatus = '{status.upper()}'" if status else "", query or ""]
    asyncio.run(_list(" AND ".join(f"({each})" for each in conditions if each), limit, as_json, address, namespace))


@app.command()
def show(workflow_id: WorkflowId, as_json: Json = False, address: Address = None, namespace: Namespace = None) -> None:
    """How far a saga is, step by step."""
    asyncio.run(_show(workflow_id, as_json, address, namespace))


@app.command()
def pause(workflow_id: WorkflowId, address: Address = None, namespace: Namespace = None) -> None:
    """Let a saga begin no further step. What is in flight goes on; an undo is not held up."""
    asyncio.run(_pause(workflow_id, address, namespace))


@app.command()
def resolve(
    workflow_id: WorkflowId,
    step: Annotated[str, typer.Argument(help="The stuck step, as `show` names it.")],
    decision: Annotated[
        Decision, typer.Argument(help="retry: try it again. skip: go on without it, on the record. fail: turn back.")
    ],
    why: Annotated[str, typer.Option(help="Recorded with the decision.")],
    who: Annotated[str | None, typer.Option(help="Recorded with the decision; by default the user's name.")] = None,
    command: Annotated[str | None, typer.Option(metavar="JSON", help="With retry: the corrected command.")] = None,
    result: Annotated[str | None, typer.Option(metavar="JSON", help="With skip: what to go on with.")] = None,
    address: Address = None,
    namespace: Namespace = None,
) -> None:
    """Decide how a stuck saga goes on."""
    said = {
        "step": step,
        "decision": decision.value,
        "who": who or getpass.getuser(),
        "why": why,
        "command": _parsed("--command", command),
        "result": _parsed("--result", result),
    }
    asyncio.run(_resolve(workflow_id, _resolution(said, command), address, namespace))


async def _list(query: str, limit: int, as_json: bool, address: str | None, namespace: str | None) -> None:
    client = await connected(address, namespace)
    async with told():
        found = [each async for each in client.list_workflows(query, limit=limit)]
        # As many requests as sagas are listed: not all at once.
        turns = asyncio.Semaphore(10)
        steps = await asyncio.gather(*(_step(client, each, turns) for each in found))
    rows = [_row(each, step) for each, step in zip(found, steps, strict=True)]
    if as_json:
        for row in rows:
            say_document(row)
    elif rows:
        say_table([name.replace("_", " ") for name in COLUMNS], [tuple(row.values()) for row in rows])
    else:
        say("No saga matches.")


def _row(saga: WorkflowExecution, step: str) -> dict[str, str]:
    status = str(saga.search_attributes["SagaStatus"][0])
    ended = saga.status.name.lower() if saga.status else ""
    values = saga.id, saga.workflow_type, status, step, f"{saga.start_time:%Y-%m-%d %H:%M:%S}", ended
    return dict(zip(COLUMNS, values, strict=True))


async def _step(client: Client, saga: WorkflowExecution, turns: asyncio.Semaphore) -> str:
    """What is in flight; where nothing is, the step at which the saga took its status."""
    if saga.search_attributes["SagaStatus"][0] in ("RUNNING", "COMPENSATING"):
        async with turns:
            described = await client.get_workflow_handle(saga.id, run_id=saga.run_id).describe()
        if pending := described.raw_description.pending_activities:
            return ", ".join(each.activity_id for each in pending)
    return str((saga.search_attributes.get("SagaStep") or [""])[0])


async def _show(workflow_id: str, as_json: bool, address: str | None, namespace: str | None) -> None:
    handle = await _handle(workflow_id, address, namespace)
    async with told():
        description = await handle.describe()
        await raise_if_code_fails(handle, description)
    report = await report_of(handle, description.task_queue)
    if as_json:
        say(report.model_dump_json())
        return
    say(f"{workflow_id}: {report.status}{' (paused)' if report.paused else ''}")
    rows = [(*_words(step), "stuck" if step.stuck else "") for step in report.steps]
    say_table(("step", "kind", "outcome", "undo", ""), rows)
    if report.cause:
        say(f"Cause: {report.cause}")
    for trouble in failing_steps(description):
        say(trouble)


def _words(step: StepReport) -> tuple[str, str, str, str]:
    return step.step, step.kind, "skipped" if step.skipped else step.outcome or "in flight", step.undo or ""


async def _pause(workflow_id: str, address: str | None, namespace: str | None) -> None:
    handle = await _handle(workflow_id, address, namespace)
    async with told():
        await handle.signal("pause")
    say(f"{workflow_id}: pause sent")


def _resolution(said: dict[str, Any], command: str | None) -> Resolution:
    from pydantic import ValidationError

    from counteract.mistakes import mistakes
    from counteract.saga import Resolution

    if command is not None and said["command"] is None:
        raise CounteractError(
            "--command is null, which is no command: leave it out to try again with the one that was sent"
        )
    try:
        return Resolution.model_validate(said)
    except ValidationError as error:
        raise CounteractError("; ".join(f"--{each.said('resolution')}" for each in mistakes(error))) from None


async def _resolve(workflow_id: str, resolution: Resolution, address: str | None, namespace: str | None) -> None:
    handle = await _handle(workflow_id, address, namespace)
    async with told():
        await handle.execute_update("resolve", resolution, rpc_timeout=ANSWER_LIMIT)
    say(f"{workflow_id}: {resolution.step} will be {BECOMES[Decision(resolution.decision)]}")


async def _handle(workflow_id: str, address: str | None, namespace: str | None) -> WorkflowHandle[Any, Any]:
    return (await connected(address, namespace)).get_workflow_handle(workflow_id)


def _parsed(option: str, text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except json.JSONDecodeError as error:
        raise CounteractError(f"{option} is not JSON: {error}") from error
    except (ValueError, RecursionError):
        raise CounteractError(
            f"{option} cannot be read: it nests too deeply, or has a number of thousands of digits"
        ) from None
