"""Command classes by name, and commands as they are sent: one that cannot be stored never leaves its saga."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import from_json, to_json

from counteract.errors import ConfigurationError, InvalidCommand
from counteract.messages import Command, subclasses
from counteract.storable import Unstorable, cut, read_back

MAX_COMMAND_BYTES = 2_000_000
"""The most JSON that a command or a result may be: Temporal takes 2 MiB, its own envelope included."""
_MAX_SUMMARY_BYTES = 200
"""Temporal takes 400, of which a codec needs its share."""


def command_types() -> dict[tuple[str, str], type[Command[Any]]]:
    """Every command class that the program has imported, by its service and its name."""
    known: dict[tuple[str, str], type[Command[Any]]] = {}
    for each in subclasses(Command):
        if "spec" in each.__dict__:
            # Modules that a workflow's sandbox imports anew make classes anew.
            known.setdefault((each.spec.service, each.__name__), each)
    return known


def command_type(name: str, service: str | None = None) -> type[Command[Any]]:
    """The command class of this name. Raises ConfigurationError where none is imported, or several.

    `service` tells apart commands that have one name in two services. Where the service is not known, or has no such
    class (any more), the name must do.
    """
    known = command_types()
    if service is not None and (service, name) in known:
        return known[service, name]
    candidates = [each for (_, own), each in known.items() if own == name]
    match candidates:
        case [only]:
            return only
        case []:
            remedy = f"import the module that declares {name} where this worker starts"
            raise ConfigurationError(f"no command {name} is known here", [remedy])
    services = ", ".join(sorted(each.spec.service for each in candidates))
    raise ConfigurationError(
        f"{len(candidates)} commands are called {name}, and it is not known which is meant",
        [
            f"it was sent by a release that did not say to which service: of {services}, leave all but one unimported here"
        ],
    )


def namesakes(services: Collection[str] | None = None) -> list[str]:
    """A problem for each name that two command classes of one of these services share (default: of any service).

    An undo could go to the wrong one of them.
    """
    found: dict[tuple[str, str], dict[str, None]] = {}
    for each in subclasses(Command):
        if "spec" in each.__dict__ and (services is None or each.spec.service in services):
            # A module that a workflow's sandbox imports anew makes classes anew, of the same full name.
            places = found.setdefault((each.spec.service, each.__name__), {})
            places[f"{each.__module__}.{each.__qualname__}"] = None
    return [
        f"{' and '.join(places)} are both {name} of the service {service!r}: rename one, or give it a service of its own"
        for (service, name), places in found.items()
        if len(places) > 1
    ]


def check_storable(command: Command[Any]) -> None:
    """Raises InvalidCommand, before a step is armed, where its service could not store the command as it is."""
    cls = type(command)
    try:
        data = read_back(command, cls.__pydantic_validator__.validate_json)
    except Unstorable as error:
        raise InvalidCommand(command.step_name(), str(error)) from None
    if len(data) > MAX_COMMAND_BYTES // 4 and (size := len(data.encode())) > MAX_COMMAND_BYTES:
        what = f"has {size} bytes, more than {MAX_COMMAND_BYTES}: keep what is large elsewhere, and send a link to it"
        raise InvalidCommand(command.step_name(), what)


def content_of(command: Command[Any]) -> dict[str, Any]:
    """The command as JSON values, written as it is sent."""
    content: dict[str, Any] = from_json(to_json(command))
    return content


def of_content(kind: type[Command[Any]], content: Any) -> Command[Any]:
    """The command that was written as this content. Raises ValidationError.

    It is read as JSON: what a strict class or base64 bytes are written as would be something else as Python values.
    """
    return kind.model_validate_json(to_json(content))


def summary_of(command: Command[Any]) -> str | None:
    """The text that the Web UI shows beside the step's name, cut to what Temporal takes."""
    summary = command.summary()
    return cut(summary, _MAX_SUMMARY_BYTES) if summary else summary
