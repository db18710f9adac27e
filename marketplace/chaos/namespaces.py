"""A second namespace of one Temporal server, whose sagas share the database with those of the first."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from counteract.dev import PartFailed
from counteract.dev.temporal import SEARCH_ATTRIBUTES

SECOND = "second"
RETENTION = timedelta(days=1)
PATIENCE = 60.0
"""Seconds until it must be known everywhere in the server."""


async def add_namespace(address: str, name: str) -> None:
    """Return when sagas can run in it."""
    client = await Client.connect(address)
    retention = Duration()
    retention.FromTimedelta(RETENTION)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )
    attributes = dict.fromkeys(SEARCH_ATTRIBUTES, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
    request, deadline = (
        AddSearchAttributesRequest(namespace=name, search_attributes=attributes),
        time.monotonic() + PATIENCE,
    )
    while True:
        try:
            await client.operator_service.add_search_attributes(request)
            return
        except RPCError as error:
            if time.monotonic() > deadline:
                raise PartFailed("Temporal", f"does not know its namespace {name}: {error.message}") from error
            await asyncio.sleep(0.2)
