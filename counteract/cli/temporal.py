"""The parts of commands that talk to a Temporal server: its options, the connection, and the project's sagas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counteract.cli.application import imported, named_modules
from counteract.cli.client import own_client, unreachable
from counteract.errors import ConfigurationError, CounteractError

if TYPE_CHECKING:
    from temporalio.client import Client, WorkflowExecutionDescription, WorkflowHandle

    from counteract.saga import SagaReport

Address = Annotated[
    str | None, typer.Option(help="Host and port of the Temporal server; by default TEMPORAL_ADDRESS or the profile's.")
]
Namespace = Annotated[str | None, typer.Option(help="By default TEMPORAL_NAMESPACE or the profile's.")]
WorkflowId = Annotated[str, typer.Argument(metavar="WORKFLOW_ID")]
Query = Annotated[str | None, typer.Option(help="A list filter, such as \"SagaStatus = 'COMPENSATED'\".")]
Sagas = Annotated[
    list[str] | None,
    typer.Option(
        "--sagas", metavar="MODULE", help="Where the sagas are; by default [tool.counteract] sagas of pyproject.toml."
    ),
]

_UNKNOWN_ENCODING = "Unknown payload encoding"
"""The text of the SDK's KeyError for it, which has no type of its own."""
ANSWER_LIMIT = timedelta(seconds=10)


async def connected(address: str | None, namespace: str | None, *, lazy: bool = False) -> Client:
    """The application's own client, or else one by Temporal's own environment configuration, with the engine's plugin.

    With `lazy` no server will be asked, so none need answer. Raises TemporalUnreachable, and ConfigurationError.
    """
    from temporalio.client import Client
    from temporalio.service import RPCError

    from counteract.plugin import CounteractPlugin

    config = _config(address, namespace) | ({"lazy": True} if lazy else {})
    if own := own_client():
        return await own.connect(config)
    try:
        return await Client.connect(**config, plugins=[CounteractPlugin()])
    except (RuntimeError, RPCError) as error:
        raise unreachable(config) from error


def _config(address: str | None, namespace: str | None) -> dict[str, Any]:
    from temporalio.envconfig import ClientConfig

    given = {"target_host": address, "namespace": namespace}
    return {
        "target_host": "localhost:7233",
        "namespace": "default",
        **ClientConfig.load_client_connect_config(),
        **{name: value for name, value in given.items() if value},
    }


@asynccontextmanager
async def told(task_queue: str | None = None) -> AsyncIterator[None]:
    """Tell in one line what the server refuses. `task_queue` is where an answer is expected from."""
    from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
    from temporalio.service import RPCError, RPCStatusCode

    try:
        yield
    except WorkflowUpdateFailedError as error:
        raise CounteractError(f"refused: {getattr(error.cause, 'message', error.cause)}") from error
    except WorkflowQueryFailedError as error:
        raise CounteractError(f"the workflow does not answer as a saga does: {error.message}") from error
    except KeyError as error:
        if _UNKNOWN_ENCODING not in str(error):
            raise
        raise CounteractError(
            f"{error.args[0]}: the payloads are encoded, and the commands are given the codec by the application's own "
            'client: set `[tool.counteract] client = "module:function"` in pyproject.toml'
        ) from error
    except RPCError as error:
        silent = error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
        queue = f"the task queue {task_queue!r}" if task_queue else "its task queue"
        hint = f"no worker answered: is one running for {queue}?" if silent else error.message
        raise CounteractError(hint) from error


async def described(client: Client, workflow_id: str) -> WorkflowExecutionDescription | None:
    """The last run of a workflow; None where the server does not know it."""
    from temporalio.service import RPCError, RPCStatusCode

    try:
        return await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def recovery_of(client: Client, saga_id: str, run_id: str) -> WorkflowExecutionDescription | None:
    """The recovery of the saga that this run began; None where none has been begun."""
    from counteract.saga.recovery import recovery_id

    return await described(client, recovery_id(saga_id, run_id))


async def report_of(handle: WorkflowHandle[Any, Any], task_queue: str) -> SagaReport:
    """The report of a saga, whether it is open or not. Raises CounteractError where no worker answers for it."""
    from temporalio.client import WorkflowQueryFailedError
    from temporalio.service import RPCError

    from counteract.saga import SagaReport

    async with told(task_queue):
        try:
            report: SagaReport | None = await handle.query("report", result_type=SagaReport, rpc_timeout=ANSWER_LIMIT)
        except (RPCError, WorkflowQueryFailedError, KeyError):
            raise
        except Exception as error:
            raise CounteractError(
                f"the report of {handle.id} cannot be read ({type(error).__name__}: {error}): "
                "is the codec of [tool.counteract] client the one that its worker has?"
            ) from error
    if report is None:
        raise CounteractError(f"the saga {handle.id} has not begun: wait for it, or start its worker")
    return report


async def matching(client: Client, query: str) -> AsyncIterator[str]:
    """The ids of the workflows that a list filter selects."""
    async for execution in client.list_workflows(query):
        yield execution.id


def sagas_in(modules: Sequence[str] | None) -> list[type]:
    """The saga classes that these modules define. Raises ConfigurationError."""
    from counteract.saga import SagaWorkflow

    names = named_modules("sagas", modules)
    found = [
        each
        for module in map(imported, names)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, SagaWorkflow) and each.__module__ == module.__name__
    ]
    if not found:
        raise ConfigurationError("no sagas were found", [f"{name} defines no SagaWorkflow class" for name in names])
    return found
