"""The engine as one Temporal plugin: give it to the client, and the workers made with that client inherit it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import ReplayerConfig, WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from counteract.commands import namesakes
from counteract.errors import ConfigurationError, SagaFailure
from counteract.messages import Command, Event, subclasses
from counteract.saga.converter import CounteractFailureConverter, CounteractPayloadConverter
from counteract.saga.interceptor import SagaInterceptor
from counteract.saga.recovery import (
    RecoverLostSaga,
    RecoverLostSagaWithCurrentVersion,
    RecoverSaga,
    RecoverSagas,
    RecoverSagasWithCurrentVersion,
    RecoverSagaWithCurrentVersion,
)
from counteract.saga.sandbox import lean
from counteract.saga.send_command import SendCommand, SendCommandWithCurrentVersion
from counteract.saga.workflow import SagaWorkflow

if TYPE_CHECKING:
    from counteract.store import PostgresEventStore

ENGINE_MODULES = (
    "counteract",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
)
"""The modules that a workflow's sandbox takes over as they are outside."""

_FAILURES = (SagaFailure, ValidationError)
"""The exceptions that fail a saga. Two, and not each by its name: the sandbox imports all of them for each workflow."""

_BUILT_IN = (RecoverSagas, RecoverLostSaga, RecoverSaga, SendCommand)
_BUILT_IN_WITH_VERSIONS = (
    RecoverSagasWithCurrentVersion,
    RecoverLostSagaWithCurrentVersion,
    RecoverSagaWithCurrentVersion,
    SendCommandWithCurrentVersion,
)


class LifecycleRecorder(Protocol):
    """Gives the activities by which sagas write their lifecycle events; `counteract.Lifecycle(store)` is one."""

    def activities(self) -> Sequence[Any]:
        """The activities, for a worker that runs sagas."""
        ...


class CounteractPlugin(SimplePlugin):
    """The engine for a client and its workers: data converter, interceptor, sandbox settings, the sagas' activities.

    A program that only starts sagas needs no argument. A worker that runs them needs `store`, in which they record what
    becomes of them, or `lifecycle`, which does that in some other way. `passthrough` names further modules that
    workflows import and that are free of side effects, so that they are imported once instead of once per workflow; the
    modules of commands and events are found without being named.
    """

    def __init__(
        self,
        lifecycle: LifecycleRecorder | None = None,
        *,
        store: PostgresEventStore | None = None,
        passthrough: Sequence[str] = (),
    ) -> None:
        if lifecycle is not None and store is not None:
            raise ConfigurationError("CounteractPlugin", ["give it either a store or a lifecycle recorder, not both"])
        super().__init__(
            "counteract",
            data_converter=_converter,
            interceptors=[SagaInterceptor()],
            workflow_failure_exception_types=list(_FAILURES),
        )
        self._lifecycle = _recording_in(store) if store is not None else lifecycle
        self._passthrough = tuple(passthrough)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Called by Temporal's worker: adds what sagas need to a worker that has any.

        Raises ConfigurationError without `lifecycle`.
        """
        config = super().configure_worker(config)
        workflows = [each for each in config.get("workflows", ()) if issubclass(each, SagaWorkflow)]
        if not workflows:
            return config
        if self._lifecycle is None:
            names = ", ".join(each.__name__ for each in workflows)
            raise ConfigurationError(
                f"the worker of {names} cannot record what becomes of its sagas",
                ["connect its client with plugins=[CounteractPlugin(store=store)]"],
            )
        if problems := namesakes():
            raise ConfigurationError("the sagas cannot start", problems)
        config["activities"] = [*config.get("activities", ()), *self._lifecycle.activities()]
        deployment = config.get("deployment_config")
        versioned = deployment is not None and deployment.use_worker_versioning
        recovery = _BUILT_IN_WITH_VERSIONS if versioned else _BUILT_IN
        config["workflows"] = [*config.get("workflows", ()), *recovery]
        runner = self._passing_through(config.get("workflow_runner"), workflows)
        if "client" in config:
            runner = lean(runner, config["client"].data_converter)
        config["workflow_runner"] = runner
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Called by Temporal's replayer: adds the engine's own workflows, and the sandbox settings of a worker."""
        config = super().configure_replayer(config)
        workflows = config.get("workflows", ())
        config["workflow_runner"] = self._passing_through(config.get("workflow_runner"), workflows)
        config["workflows"] = [*workflows, *(each for each in _BUILT_IN if each not in workflows)]
        return config

    def _passing_through(self, runner: WorkflowRunner | None, workflows: Iterable[type]) -> WorkflowRunner:
        runner = runner or SandboxedWorkflowRunner()
        if not isinstance(runner, SandboxedWorkflowRunner):
            return runner
        modules = {*ENGINE_MODULES, *self._passthrough, *_message_modules(each.__module__ for each in workflows)}
        return dataclasses.replace(runner, restrictions=runner.restrictions.with_passthrough_modules(*modules))


def _recording_in(store: PostgresEventStore) -> LifecycleRecorder:
    # Only here: a program that merely starts sagas needs no database driver.
    from counteract.participants import Lifecycle

    return Lifecycle(store)


def _message_modules(workflow_modules: Iterable[str]) -> Iterator[str]:
    """The packages in which commands and events are defined, as far as they hold no workflow.

    Commands are data: imported anew for every workflow they would cost milliseconds and gain nothing.
    """
    workflow_modules = set(workflow_modules)
    for module in {each.__module__ for each in (*subclasses(Command), *subclasses(Event))}:
        package = module.rpartition(".")[0] or module
        for candidate in (package, module):
            if not any(each == candidate or each.startswith(candidate + ".") for each in workflow_modules):
                yield candidate
                break


def _converter(existing: DataConverter | None) -> DataConverter:
    """The data converter with the engine's parts.

    What a user has set stays: a codec, and converters other than the SDK's.
    """
    default = DataConverter.default
    existing = existing or default
    own: dict[str, Any] = {}
    if existing.payload_converter_class is default.payload_converter_class:
        own["payload_converter_class"] = CounteractPayloadConverter
    if existing.failure_converter_class is default.failure_converter_class:
        own["failure_converter_class"] = CounteractFailureConverter
    return dataclasses.replace(existing, **own)
