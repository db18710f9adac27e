"""One tree of errors. Each says, by its type, what the caller should do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from counteract.printable import printable


class CounteractError(Exception):
    """Base of every error that Counteract raises on purpose."""


class SagaFailure(CounteractError):
    """Base of the errors that fail a saga, or the call of its handler: raised on purpose, or brought about by data.

    Anything else that its code raises is a bug: nothing is undone, and the saga waits for corrected code.
    """


class Rejected(SagaFailure):
    """A business refusal: the command took no effect and never will. Do not retry; tell the caller.

    Raised by domain code with the reason and the facts behind it:

        raise Rejected("out of stock", available=3)

    `data` is stored with the command and shown in the workflow's history, so keep personal data out of it. The saga
    gets it as JSON has it: a moment as ISO text, a set as a list, NaN as "NaN", and what JSON does not know as its
    `repr`. Characters that cannot be stored (U+0000, half a surrogate pair) are replaced.
    """

    def __init__(self, reason: str, /, **data: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.data: Mapping[str, Any] = data

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.data.items())
        return f"{self.reason} ({facts})" if facts else self.reason


class ConfigurationError(CounteractError):
    """Something is declared wrongly: correct the code and start again.

    Lists every problem found, not only the first.
    """

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(subject + ":" + "".join(f"\n  - {problem}" for problem in self.problems))


class InvalidDeclaration(ConfigurationError, SagaFailure, TypeError):
    """A command, an event or an option is declared wrongly: correct the declaration. Lists everything wrong with it.

    In a saga's code it is an ordinary failure: the saga turns back.
    """


class InvalidCommand(SagaFailure):
    """A command cannot be sent as it is: correct what it was made of.

    It cannot be stored, would come back as another, or its options contradict each other. Raised before the step is
    armed, so nothing has happened. It is an ordinary failure: the saga may catch it, or turns back. `problem` does not
    quote the value.
    """

    def __init__(self, command: str, problem: str) -> None:
        super().__init__(f"{command} cannot be sent: {problem}")
        self.command = command
        self.problem = problem


class SagaMisuse(CounteractError):
    """The saga's own code breaks a rule of sagas (such as a second pivot): deploy corrected code and it goes on.

    Fails the workflow task, not the saga: nothing is undone, and the saga waits for the correction.
    """


class StepFailed(SagaFailure):
    """A step ended without an answer (timeout, retries exhausted, lost worker): it may or may not have taken effect.

    Whether it is caught or not, the saga undoes the step before it ends or passes the pivot. `why` names the
    exception's type and not its text, which may hold anything: the workflow's history and the worker's log have the
    place that raised it, and the log at the level DEBUG all that it says.
    """

    def __init__(self, step: str, why: str, *, refusal: Rejected | None = None) -> None:
        super().__init__(f"{step} ended without an answer: {why}")
        self.step = step
        self.refusal = refusal
        """The service's refusal, where an earlier attempt may have taken effect all the same."""


class SagaIncomplete(SagaFailure):
    """The saga's own code failed after the pivot: nothing was undone; finish it by hand or through recovery."""

    is_final: bool = False
    """The store holds otherwise than the saga counts on, and no further attempt could do better: a retry policy of the
    workflow makes none.
    """


class SagaHasCompleted(SagaFailure):
    """The saga was on record as completed when its own code failed or was stopped: everything stands.

    Only the result of the code is missing. The saga's events and its record tell the end.
    """


class SagaReset(SagaFailure):
    """The saga was reset to a point behind its own undo: start a new one instead. What is left of it is undone."""

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(f"the saga was reset, but {', '.join(steps)} had been undone: start a new saga instead")


class SagaTurnedBack(SagaFailure):
    """The saga's record has turned back, or has ended: no run of it goes forward any more. Start a new saga instead."""


class SagaContradicted(SagaFailure):
    """The store holds other outcomes than the saga counts on, as after lost commits: nothing is claimed done."""

    def __init__(self, steps: Sequence[str]) -> None:
        super().__init__(f"the store says otherwise of {', '.join(steps)}")
        self.steps = tuple(steps)


class SagaLost(CounteractError):
    """The saga's workflow ended without running its code: recovery undoes what it did."""


class SagaClosed(SagaFailure):
    """A step was asked for when none may begin any more: the saga turns back, is past its pivot, or is over.

    Raised in the handlers of signals and updates, which come when they come: nothing was sent. Tell the caller.
    """


class StoreError(CounteractError):
    """Base of the event store's errors."""


class RecordSaysOtherwise(StoreError, SagaFailure):
    """The saga's record has decided otherwise than the sender believes: nothing was recorded. Do not retry.

    `state` is the record's: "turning back", "past the pivot", and so on; "superseded" where a later run of the saga has
    taken over, "contradicted" where the store holds other outcomes than the saga counts on.
    """

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class WrongExpectedVersion(StoreError):
    """Another writer got there first: load, decide and append again."""

    def __init__(self, stream: object, *, expected: str, actual: int) -> None:
        super().__init__(f"{printable(stream)} is at version {actual}, expected {expected}")
        self.stream = stream
        self.expected = expected
        self.actual = actual


class BoundaryChanged(StoreError):
    """Events that the decision depends on were appended meanwhile: read, decide and append again. Nothing was appended.

    `position` is that of the first such event.
    """

    def __init__(self, position: int) -> None:
        super().__init__(f"an event that the decision depends on was appended at position {position}")
        self.position = position


class CheckpointPassed(StoreError):
    """A consumer's checkpoint is beyond the position, or not where it was expected: read on from its `position`.

    The consumer has been there already, or another process has. Nothing was appended.
    """

    def __init__(self, name: str, position: int) -> None:
        super().__init__(f"the checkpoint {name!r} is at {position}: read on from there")
        self.name = name
        self.position = position


class EventIdReused(StoreError):
    """An event id is stored already with other content: give the new event an id of its own."""


class UndecodableEvent(StoreError):
    """A stored event that today's classes cannot read. Nothing is skipped: correct the classes and read again."""

    def __init__(self, message: str, event_type: str, schema_version: int) -> None:
        super().__init__(message)
        self.event_type = event_type
        self.schema_version = schema_version
        self.place: str | None = None

    @property
    def is_newer(self) -> bool:
        """Whether it seems that a newer release has stored it: then a process of that release reads it."""
        return False

    def at(self, stream: object, version: int, position: int | None = None) -> Self:
        """The same error, saying where the event is stored."""
        self.place = f"{printable(stream)}, version {version}" + (f", position {position}" if position else "")
        return self

    def __str__(self) -> str:
        return super().__str__() + (f" (in {self.place})" if self.place else "")


class UnknownEventType(UndecodableEvent):
    """A stored event has a type or version that no class declares: keep the class, or give a newer one an upcaster."""

    def __init__(self, event_type: str, schema_version: int, known: Sequence[int] = ()) -> None:
        others = f", only for v{', v'.join(map(str, sorted(known)))}" if known else ""
        message = f"no class is declared for the stored event {event_type} v{schema_version}{others}"
        super().__init__(message, event_type, schema_version)
        self._newest = max(known, default=0)

    @property
    def is_newer(self) -> bool:
        """The stored version is above every one that a class of this process declares."""
        return self.schema_version > self._newest


class InvalidEvent(StoreError):
    """An event, its metadata or its stream's id cannot be stored and read again: correct it.

    It holds U+0000 or NaN, for example, or is too large.
    """


class UnreadableEvent(UndecodableEvent):
    """A stored event does not fit its class: give the changed class a version of its own, and an upcaster.

    `problems` are pydantic's, without the values, and without what a validator says of them.
    """

    def __init__(self, event_type: str, schema_version: int, problems: Sequence[Mapping[str, Any]]) -> None:
        places = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'event'}: {each['msg']}" for each in problems)
        message = f"the stored event {event_type} v{schema_version} does not fit its class: {places}"
        super().__init__(message, event_type, schema_version)
        self.problems = problems

    @property
    def is_newer(self) -> bool:
        """A field that the class does not have has been added since."""
        return any(each.get("type") == "extra_forbidden" for each in self.problems)


class PersonalDataLocked(StoreError):
    """Personal data cannot be sealed or opened with the master key at hand: give the right one."""


class MasterKeyMissing(PersonalDataLocked):
    """Personal data needs a master key, and this process has none: set COUNTERACT_MASTER_KEY."""


class SealedByNewerRelease(PersonalDataLocked):
    """Personal data was sealed in a way that this release does not know: update this process."""


class NoSuchVersion(StoreError):
    """A stream was asked for at a version that it has not reached."""


class StreamArchived(StoreError):
    """Events of a stream were archived: put them back with `counteract store restore`, and ask again."""

    def __init__(self, stream: object, *, version: int, file: str) -> None:
        super().__init__(
            f"{printable(stream)} is archived up to version {version}: `counteract store restore {file}` puts it back"
        )
        self.stream = stream
        self.version = version
        """The last one that is archived."""
        self.file = file
        """The name that the file had, without its folder."""


class RowsLost(StoreError):
    """Rows were lost that the log alone cannot make anew: restore their archived events, or drop the projection."""


class RowsOfOtherCode(StoreError):
    """Other code has made a projection's rows anew while this process ran: deploy that code, or rebuild.

    This process takes no more part, and leaves the rows to processes with that code.
    """


class StreamIncomplete(StoreError):
    """Events are missing from a stream and were not archived: restore a backup."""


class InvalidArchive(StoreError):
    """A file is no archive, or not the one that was written: find the right one. Nothing was changed by it."""


class InvalidImport(StoreError):
    """Lines of an import cannot be stored: correct them and import again. Nothing of their batch is stored.

    `problems` names every bad line of the batch, by its number.
    """

    _SHOWN = 20

    def __init__(self, problems: Sequence[str]) -> None:
        more = [f"and {len(problems) - self._SHOWN} more"] if len(problems) > self._SHOWN else []
        super().__init__("\n".join(["these lines cannot be imported:", *problems[: self._SHOWN], *more]))
        self.problems = tuple(problems)


class AppendTooLarge(StoreError):
    """More streams, events or bytes than one append may take: split it."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or gave up waiting: retry.

    Of a write that was under way it is unknown whether it took effect: repeat it with the same ids.
    """


class StoreReadOnly(StoreUnavailable):
    """The database takes no writes: find the primary server, or wait for the end of its maintenance.

    Nothing was written.
    """


class SchemaOutdated(StoreError):
    """The database lacks what this version of Counteract needs: run `counteract migrate`."""


class LogCutShort(StoreError):
    """A reader has seen events that the log does not have: run `counteract store restored`, and what it says.

    Commits were lost.
    """


class InlineProjectionMissing(StoreError):
    """A projection is kept up to date by whoever appends such events, and this process does not. Nothing was appended.

    Open the store with `inline=[…]` and the code that the projection was last rebuilt with, or run
    `counteract projections drop`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the projection {name!r} is kept up to date by whoever appends such events, and this process does not keep it: open "
            f"the store with inline=[…] and the code that it was last rebuilt with, or end it with `counteract projections drop "
            f"{name}`. Nothing was appended"
        )
        self.name = name


class InlineProjectionGone(StoreError):
    """A projection that this process keeps up to date was dropped, or is no longer inline. Nothing was appended.

    Open the store again, with the code of today.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the projection {name!r} was dropped, or is no longer inline: open the store again, with the code of today. "
            "Nothing was appended"
        )
        self.name = name


class ProjectionBehind(CounteractError):
    """A projection did not reach a position in time: answer without it, or ask again."""

    def __init__(self, name: str, *, position: int, wanted: int) -> None:
        super().__init__(f"projection {name!r} is at position {position}, not yet at {wanted}")
        self.name = name
        self.position = position
        self.wanted = wanted


class CommandFenced(CounteractError):
    """The command was undone before it could take effect, and never will: do not retry it."""


class CommandIdReused(SagaFailure):
    """A command id is recorded already with another content, saga or activity: nothing was carried out.

    The saga's code has changed, or is not deterministic (an id or a time of its own making), and came to this step
    again after a reset or a retry: start a new saga instead.
    """


class UnreadableCommand(SagaFailure):
    """A recorded command does not fit its class any more: a person has to say what is to be undone instead."""


class RefusalInDoubt(CounteractError):
    """An external command was refused, but an earlier attempt may have taken effect: it is unknown whether it did."""

    def __init__(self, refusal: Rejected) -> None:
        super().__init__(f"refused ({refusal.reason}), but an earlier attempt may have taken effect")
        self.refusal = refusal
