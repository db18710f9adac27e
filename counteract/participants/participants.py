"""The services of a process: checked as a whole, then given to Temporal as one worker per task queue."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from counteract.commands import namesakes
from counteract.errors import ConfigurationError
from counteract.messages import Command, CommandKind, Dispatch, subclasses
from counteract.participants.activities import activities_of
from counteract.participants.executor import Executor, Participant
from counteract.participants.fence import Fence
from counteract.participants.handlers import Handler, Role, marked_in
from counteract.participants.streams import Streams
from counteract.store import PostgresEventStore

_PLUGIN = "counteract"
"""The name of `counteract.plugin.CounteractPlugin` among plugins."""


class Participants:
    """The services of a process: all handlers found in `sources` (modules, or single functions).

    `resources` are what handlers ask for by the type of a parameter: each is given for its own class and for the
    classes and protocols that it names as its bases.
    """

    def __init__(self, store: PostgresEventStore, *sources: object, resources: Sequence[Any] = ()) -> None:
        self._store = store
        found = [handler for source in sources for handler in marked_in(source)]
        self._handlers = list({id(handler): handler for handler in found}.values())
        self._resources = {base: resource for resource in resources for base in type(resource).__mro__}

    @property
    def services(self) -> list[str]:
        """The task queues that there are handlers for."""
        return sorted({handler.command.spec.service for handler in self._handlers})

    def check(self, services: Collection[str] | None = None) -> list[Participant]:
        """The participants of these services (default: of all).

        Raises one ConfigurationError that lists every problem.
        """
        chosen = set(self.services if services is None else services)
        known = ", ".join(self.services)
        problems = [
            f"no handler belongs to a service {name!r}: there are {known}"
            for name in sorted(chosen - set(self.services))
        ]
        participants = []
        for command in filter(self._is_original, _commands_of(chosen)):
            by_role = self._by_role(command)
            problems += _problems(command, by_role)
            problems += self._missing_resources(handler for handlers in by_role.values() for handler in handlers)
            if by_role[Role.HANDLES]:
                participants.append(Participant(command, *(_first(by_role[role]) for role in Role)))  # type: ignore[arg-type]
        problems += _clashes(participants)
        problems += namesakes(chosen)
        if problems:
            raise ConfigurationError("the services cannot start", problems)
        return participants

    def workers(self, client: Client, services: Collection[str] | None = None, **options: Any) -> list[Worker]:
        """One Temporal worker per service. `options` go to every `Worker`. The client must have the engine's plugin."""
        _check_plugin(client)
        by_service: dict[str, list[Callable[..., Any]]] = defaultdict(list)
        for participant in self.check(services):
            executor = Executor(participant, Fence(self._store), self._resources)
            by_service[participant.command.spec.service] += activities_of(executor)
        return [
            Worker(client, task_queue=service, activities=activities, **options)
            for service, activities in by_service.items()
        ]

    def _is_original(self, command: type[Command[Any]]) -> bool:
        """Whether the class is no copy: a module that a sandbox imports anew makes its classes anew, without handlers."""
        handled = {each.command for each in self._handlers}
        return command in handled or _full_name(command) not in map(_full_name, handled)

    def _by_role(self, command: type[Command[Any]]) -> dict[Role, list[Handler]]:
        own = [handler for handler in self._handlers if handler.command is command]
        return {role: [handler for handler in own if handler.role is role] for role in Role}

    def _missing_resources(self, handlers: Iterator[Handler]) -> list[str]:
        known = {Streams, Dispatch, *self._resources}
        return [
            f"{handler} asks for {name}: {_name(kind)}, which is not among resources="
            for handler in handlers
            for name, kind in handler.wants.items()
            if kind not in known
        ]


def _check_plugin(client: Client) -> None:
    """Refuse a client without the plugin: a saga's worker on it would fail each task, and say so only in its log."""
    if not any(plugin.name() == _PLUGIN for plugin in client.config()["plugins"]):
        remedy = "connect it with Client.connect(..., plugins=[CounteractPlugin(Lifecycle(store))])"
        raise ConfigurationError("the workers' client lacks the plugin", [remedy])


def _problems(command: type[Command[Any]], by_role: dict[Role, list[Handler]]) -> list[str]:
    name, kind = command.__name__, command.kind
    handlers, compensations, settlements = (by_role[role] for role in Role)
    external = any(handler.effect == "external" for handler in handlers)
    problems = [
        f"{name} has more than one @{role} handler: {', '.join(map(str, several))}"
        for role, several in by_role.items()
        if len(several) > 1
    ]
    if not handlers:
        problems.append(f"{name} has no @handles({name}) handler")
    if kind is CommandKind.COMPENSATABLE and not compensations:
        problems.append(f"{name} has no @compensates({name}) handler for its undo {command.spec.compensation}")
    if kind is not CommandKind.COMPENSATABLE and compensations:
        problems.append(f"{name} is {kind} and cannot be undone, yet has {compensations[0]}")
    if kind is CommandKind.PIVOT and external and not settlements:
        problems.append(f"{name} is an external pivot and has no @settles({name}) handler to ask whether it happened")
    if settlements and (kind is CommandKind.COMPENSATABLE or not external):
        problems.append(f"{name} is no external pivot or retriable, yet has {settlements[0]}")
    return problems


def _clashes(participants: Sequence[Participant]) -> list[str]:
    uses = Counter(
        (spec.service, name)
        for spec in (participant.command.spec for participant in participants)
        for name in (spec.name, spec.compensation, spec.settlement)
        if name
    )
    return [f"{count} activities of {service} are named {name}" for (service, name), count in uses.items() if count > 1]


def _commands_of(services: Collection[str]) -> list[type[Command[Any]]]:
    """Every command class that the program has imported: one without any handler must be noticed too."""
    return sorted(
        (each for each in set(subclasses(Command)) if "spec" in each.__dict__ and each.spec.service in services),
        key=lambda each: each.__name__,
    )


def _full_name(command: type[Command[Any]]) -> tuple[str, str]:
    return command.__module__, command.__qualname__


def _first(handlers: list[Handler]) -> Handler | None:
    return handlers[0] if handlers else None


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
