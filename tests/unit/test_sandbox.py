"""The sandbox is left alone wherever somebody may want to know where a payload goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    DefaultFailureConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)
from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from counteract.saga.converter import data_converter
from counteract.saga.sandbox import ContextFreeSandbox, lean


class Codec(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


class Asking(DefaultFailureConverter, WithSerializationContext):
    def with_context(self, context: SerializationContext) -> Self:
        return type(self)()


@dataclass(frozen=True)
class Own(SandboxedWorkflowRunner):
    """A runner of the user's."""


def test_the_engines_own_converters_need_no_context() -> None:
    restrictions = SandboxRestrictions.default.with_passthrough_modules("a_module")

    runner = lean(SandboxedWorkflowRunner(restrictions=restrictions), data_converter)

    assert isinstance(runner, ContextFreeSandbox)
    assert runner.restrictions is restrictions


def test_a_codec_is_told() -> None:
    plain = SandboxedWorkflowRunner()
    assert lean(plain, dataclasses.replace(data_converter, payload_codec=Codec())) is plain


def test_a_converter_that_asks_is_told() -> None:
    plain = SandboxedWorkflowRunner()
    assert lean(plain, dataclasses.replace(data_converter, failure_converter_class=Asking)) is plain


def test_a_runner_of_the_users_own_stays() -> None:
    for own in (Own(), UnsandboxedWorkflowRunner()):
        assert lean(own, data_converter) is own
