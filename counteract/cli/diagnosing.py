"""The diagnosis of a Temporal server: what keeps sagas from going on, as far as the server knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetSystemInfoRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from counteract.cli.application import declared
from counteract.cli.temporal import connected, sagas_in
from counteract.commands import command_types
from counteract.errors import ConfigurationError, CounteractError
from counteract.saga.report import SAGA_STATUS, SAGA_STEP
from counteract.store.checks.finding import Finding, ok, problem, skipped

_ANSWER_LIMIT = timedelta(seconds=10)
# Workers ask at least once a minute; the server remembers for five minutes who did.
_FRESH = timedelta(minutes=2)

_ATTRIBUTES = {each.name: int(each.indexed_value_type) for each in (SAGA_STATUS, SAGA_STEP)}
_IN_FLIGHT = f"ExecutionStatus = 'Running' AND {SAGA_STATUS.name} IS NOT NULL"
_MOST_IN_FLIGHT = 1000
_HIDDEN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)

_Queue = tuple[str, TaskQueueType.ValueType]


async def diagnose(address: str | None, namespace: str | None, task_queues: Collection[str]) -> AsyncIterator[Finding]:
    """Look at one thing after the other, and go on whatever is found. Changes nothing.

    `task_queues`: those that workers for sagas must listen on, beside those that sagas in flight are on.
    """
    try:
        async with asyncio.timeout(_ANSWER_LIMIT.total_seconds()):
            client = await connected(address, namespace)
    except ConfigurationError as error:
        yield problem(
            "temporal", "; ".join([error.subject, *error.problems]), "correct pyproject.toml, or what it names"
        )
        return
    except (CounteractError, TimeoutError) as error:
        what, _, remedy = str(error).partition(": ")
        silent = f"the Temporal server does not answer within {_ANSWER_LIMIT.seconds} s"
        yield problem("temporal", what or silent, remedy or "give --address or set TEMPORAL_ADDRESS")
        return
    yield await _answered("temporal", _server(client))
    yield await _answered("search attributes", _search_attributes(client))
    try:
        queues = {*await _queues_of_sagas(client, task_queues), *_queues_of_services()}
    except ConfigurationError as error:
        yield problem("workers", "; ".join([error.subject, *error.problems]), "correct [tool.counteract] sagas")
        return
    if not queues:
        yield skipped("workers", "no task queue is known", "give --task-queue, or set [tool.counteract] sagas")
    for queue in sorted(queues):
        yield await _answered("workers", _workers(client, queue))


async def _answered(check: str, asked: Awaitable[Finding]) -> Finding:
    try:
        return await asked
    except RPCError as error:
        if error.status in _HIDDEN:
            return skipped(check, f"the server does not tell: {error.message}")
        return problem(check, f"the server refuses: {error.message}", "correct the namespace, or the credentials")


async def _server(client: Client) -> Finding:
    about = await client.workflow_service.get_system_info(GetSystemInfoRequest(), timeout=_ANSWER_LIMIT)
    request = DescribeNamespaceRequest(namespace=client.namespace)
    await client.workflow_service.describe_namespace(request, timeout=_ANSWER_LIMIT)
    what = f"Temporal {about.server_version} answers, and has the namespace {client.namespace}"
    return ok("temporal", what, version=about.server_version, namespace=client.namespace)


async def _search_attributes(client: Client) -> Finding:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(request, timeout=_ANSWER_LIMIT)).custom_attributes
    missing = [name for name in _ATTRIBUTES if name not in known]
    wrong = [
        f"{name} ({IndexedValueType.Name(known[name])})"
        for name, kind in _ATTRIBUTES.items()
        if name in known and known[name] != kind
    ]
    if wrong:
        what = f"the namespace {client.namespace} has {', '.join(wrong)}, which must be a Keyword"
        return problem("search attributes", what, "rename it or take another namespace: a type cannot be changed")
    if missing:
        what = f"the namespace {client.namespace} lacks {', '.join(missing)}: sagas cannot begin"
        names = " ".join(f"--name {name} --type Keyword" for name in missing)
        command = f"temporal operator search-attribute create --namespace {client.namespace} {names}"
        return problem("search attributes", what, f"run `{command}`", missing=missing)
    return ok("search attributes", f"{' and '.join(_ATTRIBUTES)} are registered")


async def _queues_of_sagas(client: Client, given: Collection[str]) -> set[_Queue]:
    queues = set(given)
    try:
        async for saga in client.list_workflows(_IN_FLIGHT, limit=_MOST_IN_FLIGHT):
            queues.add(saga.task_queue)
    except RPCError:
        # Without the search attributes it cannot say which they are, and that is told already.
        pass
    return {(queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW) for queue in queues}


def _queues_of_services() -> set[_Queue]:
    """The queues of the commands that the application's sagas import. Raises ConfigurationError."""
    if not declared("sagas"):
        return set()
    sagas_in(None)
    services = {each.spec.service for each in command_types().values() if not each.__module__.startswith("counteract.")}
    return {(service, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY) for service in services}


async def _workers(client: Client, queue: _Queue) -> Finding:
    name, kind = queue
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=name), task_queue_type=kind
    )
    described = await client.workflow_service.describe_task_queue(request, timeout=_ANSWER_LIMIT)
    oldest = datetime.now(UTC) - _FRESH
    workers = sorted(
        {each.identity for each in described.pollers if each.last_access_time.ToDatetime(tzinfo=UTC) > oldest}
    )
    needed_for = "sagas" if kind == TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW else "commands"
    if not workers:
        what = f"no worker takes {needed_for} from the task queue {name}"
        return problem("workers", what, "start one: what waits there goes on by itself then", task_queue=name)
    listed = f"{', '.join(workers[:3])}{', …' if len(workers) > 3 else ''}"
    return ok("workers", f"{name}: {needed_for} are taken by {listed}", task_queue=name, workers=workers)
