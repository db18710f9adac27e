"""The arguments of a workflow, a signal or an update, held to what it takes: the sender learns of a mistake at once.

The SDK passes on however many inputs came, without their types where the number differs, and null for any type: code
that then fails would fail the workflow task, again and again, and leave the saga running for ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from counteract.saga.converter import PAYLOAD_INVALID, as_failure


def checked(function: Callable[..., Any], what: str, given: Sequence[Any]) -> Sequence[Any]:
    """The arguments as the function declares them. Raises ApplicationError (PayloadValidationError).

    `what` is the function's name in the error. Its first parameter is left out where it is not bound yet.
    """
    if _takes_just(function, len(given)) and not any(each is None or isinstance(each, bytes) for each in given):
        return given
    parameters = _parameters(function)
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return given
    least = sum(each.default is inspect.Parameter.empty for each in parameters)
    if not least <= len(given) <= len(parameters):
        raise _wrong_number(what, parameters, least, len(given))
    as_declared = len(given) == len(parameters)
    if as_declared and not any(each is None or isinstance(each, bytes) for each in given):
        return given
    hints = _hints(function)
    pairs = zip(given, parameters, strict=False)
    return [_typed(value, hints.get(each.name, Any), each.name, as_declared=as_declared) for value, each in pairs]


def _takes_just(function: Callable[..., Any], given: int) -> bool:
    """Whether it is a plain function of so many parameters, its first one aside: most are, and a signature takes a while to make."""
    code = getattr(function, "__code__", None)
    if code is None or inspect.ismethod(function) or hasattr(function, "__wrapped__"):
        return False
    return code.co_argcount == given + 1 and not code.co_flags & inspect.CO_VARARGS


def _typed(value: Any, hint: Any, name: str, *, as_declared: bool) -> Any:
    if value is None or isinstance(value, bytes):
        # Its encoding says all of it, and so nobody has looked at the type.
        try:
            return TypeAdapter(hint).validate_python(value)
        except ValidationError as error:
            raise as_failure(error, name) from None
    if as_declared:
        return value
    converter = workflow.payload_converter()
    return converter.from_payload(converter.to_payload(value), hint)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = [
        each
        for each in inspect.signature(function).parameters.values()
        if each.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    return parameters if inspect.ismethod(function) else parameters[1:]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except NameError:
        return {}


def _wrong_number(what: str, parameters: Sequence[inspect.Parameter], least: int, given: int) -> ApplicationError:
    taken = f"{len(parameters)}" if least == len(parameters) else f"{least} to {len(parameters)}"
    named = ", ".join(f"{each.name}: {_name(each.annotation)}" for each in parameters) or "none"
    message = f"{what} takes {taken} input{'' if taken == '1' else 's'} ({named}), and was given {given}"
    fields = [
        {"field": each.name, "error": "Field required", "type": "missing"} for each in parameters[given:least]
    ] or [{"field": "input", "error": f"{given} were given", "type": "unexpected_argument"}]
    return ApplicationError(message, *fields, type=PAYLOAD_INVALID, non_retryable=True)


def _name(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
