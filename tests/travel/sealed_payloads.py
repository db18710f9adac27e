"""Clients whose payloads are unreadable for the server, as an application with secrets has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from counteract import CounteractPlugin, LifecycleRecorder

SEALED = b"binary/sealed"


@dataclasses.dataclass(frozen=True)
class Seal(PayloadCodec, WithSerializationContext):
    """Good enough to see what was opened, and with what: each workflow has a key of its own."""

    workflow: str = ""

    def with_context(self, context: SerializationContext) -> Seal:
        if isinstance(context, (ActivitySerializationContext, WorkflowSerializationContext)):
            return Seal(f"{context.namespace} {context.workflow_id}")
        return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        key = self.workflow.encode()
        return [
            Payload(metadata={"encoding": SEALED, "key": key}, data=each.SerializeToString()[::-1]) for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._opened(each) for each in payloads]

    def _opened(self, payload: Payload) -> Payload:
        if payload.metadata["encoding"] != SEALED:
            return payload
        # Without a context it takes any key, as one that asks a server for it would.
        if self.workflow and payload.metadata["key"] != self.workflow.encode():
            raise ValueError(f"{self.workflow!r} is not the key")
        return Payload.FromString(payload.data[::-1])


class KeyLost(PayloadCodec):
    """Opens nothing."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise ValueError("the key is lost")


CONVERTER = dataclasses.replace(DataConverter.default, payload_codec=Seal())


async def connect(lifecycle: LifecycleRecorder | None = None, **config: Any) -> Client:
    """What `[tool.counteract] client` names."""
    return await Client.connect(**config, data_converter=CONVERTER, plugins=[CounteractPlugin(lifecycle)])


async def connect_without_key(**config: Any) -> Client:
    """As after a key was changed."""
    converter = dataclasses.replace(DataConverter.default, payload_codec=KeyLost())
    return await Client.connect(**config, data_converter=converter, plugins=[CounteractPlugin()])
