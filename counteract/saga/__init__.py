"""Sagas as Temporal workflows."""

from counteract.saga.dispatching import Park
from counteract.saga.parking import Resolution
from counteract.saga.report import SagaReport, SagaStatus, StepReport
from counteract.saga.saga import Saga
from counteract.saga.workflow import SagaWorkflow

__all__ = ["Park", "Resolution", "Saga", "SagaReport", "SagaStatus", "SagaWorkflow", "StepReport"]
