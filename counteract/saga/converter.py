"""Pydantic in and out of Temporal, but that input that does not validate is a failure, and no stuck workflow."""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, pydantic_data_converter
from temporalio.converter import (
    CompositePayloadConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from counteract.errors import CounteractError, Rejected, SagaIncomplete
from counteract.storable import invalid, listed, storable, storable_text

PAYLOAD_INVALID = "PayloadValidationError"
COMPENSATED = "SagaCompensated"
"""The type of the failure that a compensated saga ends with."""
_ON_PURPOSE = {PAYLOAD_INVALID, COMPENSATED, Rejected.__name__}


class _JSONConverter(PydanticJSONPlainPayloadConverter):
    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        try:
            return super().from_payload(payload, type_hint)
        except ValidationError as error:
            raise as_failure(error) from None


# One for the process: the SDK makes the composite anew for every workflow, and what pydantic has to find out about a
# type takes longer than to read a value of it. The sandbox makes a workflow's own classes anew too: hence the limit.
_JSON = _JSONConverter(max_cached_type_adapters=512)


class CounteractPayloadConverter(CompositePayloadConverter):
    """The SDK's converters, with JSON read and written by pydantic."""

    def __init__(self) -> None:
        defaults = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(_JSON if isinstance(each, JSONPlainPayloadConverter) else each for each in defaults))


class CounteractFailureConverter(DefaultFailureConverter):
    """The SDK's, without stack traces for what is raised on purpose: a refusal or an undone saga is no crash."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Write the exception into `failure`; what cannot be sent of it, in a form that can."""
        try:
            super().to_failure(_without_input(exception), payload_converter, failure)
        except (ValueError, TypeError):
            # Text that is no UTF-8, or details that are no JSON: whoever waits is to get a failure all the same.
            failure.Clear()
            super().to_failure(_sendable(exception), payload_converter, failure)
        if isinstance(exception, SagaIncomplete) and exception.is_final:
            failure.application_failure_info.non_retryable = True
        if isinstance(exception, CounteractError) or getattr(exception, "type", None) in _ON_PURPOSE:
            failure.stack_trace = ""


data_converter = dataclasses.replace(
    pydantic_data_converter,
    payload_converter_class=CounteractPayloadConverter,
    failure_converter_class=CounteractFailureConverter,
)


def as_failure(error: ValidationError, of: str | None = None) -> ApplicationError:
    """A failure that names the fields, and does not repeat what was in them: input may hold personal data.

    A plain ValidationError would fail the workflow task, again and again, and leave the workflow running for ever.
    """
    return ApplicationError(invalid(error, of), *listed(error), type=PAYLOAD_INVALID, non_retryable=True)


def _without_input(exception: BaseException) -> BaseException:
    if not isinstance(exception, ValidationError):
        return exception
    # Without its cause, which a model may ask for: a group of what its validators raised.
    told = ApplicationError(invalid(exception), type=ValidationError.__name__)
    return told.with_traceback(exception.__traceback__)


def _sendable(exception: BaseException) -> BaseException:
    if not isinstance(exception, ApplicationError):
        return _like(exception, ApplicationError(storable_text(str(exception)), type=type(exception).__name__))
    told = ApplicationError(
        storable_text(exception.message),
        *map(storable, exception.details),
        type=exception.type and storable_text(exception.type),
        non_retryable=exception.non_retryable,
        next_retry_delay=exception.next_retry_delay,
        category=exception.category,
    )
    return _like(exception, told)


def _like(exception: BaseException, told: BaseException) -> BaseException:
    told.__cause__, told.__traceback__ = exception.__cause__, exception.__traceback__
    return told
