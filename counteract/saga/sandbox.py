"""The SDK's sandbox, without a visit to it for every payload.

For each payload that comes or goes the SDK enters the workflow's sandbox several times to ask which activity or
workflow it belongs to, because a codec may depend on that. Measured, it is a fifth of what a saga costs its worker.
Where no converter and no codec asks, nobody needs to be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from temporalio.converter import DataConverter, SerializationContext, WorkflowSerializationContext
from temporalio.converter import StorageDriverStoreContext as StoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner
from temporalio.workflow import Info

_SOMEWHERE = WorkflowSerializationContext(namespace="default", workflow_id="any")


def lean(runner: WorkflowRunner, converter: DataConverter) -> WorkflowRunner:
    """A sandbox without those visits, where nobody needs them; a runner of the user's own stays as it is."""
    if type(runner) is not SandboxedWorkflowRunner or _asks_for_context(converter):
        return runner
    return ContextFreeSandbox(restrictions=runner.restrictions, runner_class=runner.runner_class)


def _asks_for_context(converter: DataConverter) -> bool:
    """Whether what becomes of a payload may depend on where it comes from or goes to."""
    custom = converter.payload_codec is not None or converter.external_storage is not None
    return custom or converter.with_context(_SOMEWHERE) is not converter


@dataclass(frozen=True)
class ContextFreeSandbox(SandboxedWorkflowRunner):
    """A sandbox for converters that do not ask for context."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """A workflow in the sandbox, which is not entered to ask for context."""
        return _ContextFree(super().create_instance(det))


@dataclass(frozen=True, slots=True)
class _ContextFree(WorkflowInstance):
    _sandboxed: WorkflowInstance

    def activate(self, act: Any) -> Any:
        return self._sandboxed.activate(act)

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        return None

    def get_external_store_context(self, command_info: Any) -> StoreContext:
        return StoreContext(target=None)

    def get_info(self) -> Info:
        return self._sandboxed.get_info()

    def get_thread_id(self) -> int | None:
        return self._sandboxed.get_thread_id()
