"""Sagas as Temporal workflows."""

from counteract.saga.dispatcher import Park
from counteract.saga.report import SagaReport, SagaStatus, StepReport
from counteract.saga.resolution import Resolution
from counteract.saga.saga import Saga
from counteract.saga.workflow import SagaWorkflow

__all__ = ["Park", "Resolution", "Saga", "SagaReport", "SagaStatus", "SagaWorkflow", "StepReport"]
