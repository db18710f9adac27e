"""Counteract: orchestration sagas on Temporal, with every step paired with its undo and every event kept.

Everyday names are imported from here, and each loads its module when it is first asked for: a domain loads neither a
database driver nor Temporal, and `import counteract` by itself loads neither. Type checkers, editors and the reference
read `__init__.pyi`, which a test holds against this table.
"""

from counteract._former_names import keep_former_names

_NAMES_IN = {
    "counteract.decider": "Decider",
    "counteract.errors": """
        AppendTooLarge BoundaryChanged CheckpointPassed CommandFenced CommandIdReused ConfigurationError
        CounteractError EventIdReused InlineProjectionGone InlineProjectionMissing InvalidArchive InvalidCommand
        InvalidDeclaration InvalidEvent InvalidImport LogCutShort MasterKeyMissing NoSuchVersion
        PersonalDataLocked ProjectionBehind RecordSaysOtherwise RefusalInDoubt Rejected RowsLost RowsOfOtherCode
        SagaClosed SagaContradicted SagaFailure SagaHasCompleted SagaIncomplete SagaLost SagaMisuse SagaReset
        SagaTurnedBack SchemaOutdated SealedByNewerRelease StepFailed StoreError StoreReadOnly StoreUnavailable
        StreamArchived StreamIncomplete UndecodableEvent UnknownEventType UnreadableCommand UnreadableEvent
        WrongExpectedVersion
    """,
    "counteract.lifecycle": "SagaCompensated SagaCompleted SagaResolved SagaStarted SagaStuck",
    "counteract.messages": """
        Command Compensatable Dispatch Event Outcome Pivot Recorded Retriable Retry StreamId command_id_of
    """,
    "counteract.participants": """
        Happened Lifecycle NeverHappened Participants Settle Stream Streams Undo compensates handles settles
    """,
    "counteract.personal": "FORGOTTEN Forgotten Personal",
    "counteract.plugin": "CounteractPlugin LifecycleRecorder",
    "counteract.projections": """
        Delete Effect Increment MaterializedView Operation Patch Projection ProjectionRunner Put
    """,
    "counteract.reactions": "Reaction ReactionRunner Send SendCommand StartSaga reacts_to",
    "counteract.saga": "Park Resolution Saga SagaReport SagaStatus SagaWorkflow StepReport",
    "counteract.store": """
        ANY Appended AtPosition AtVersion Checkpoint Decided EventDecoder EventStore ExactVersion Expect Found
        KeyWrapper Loaded MasterKey NO_STREAM PostgresEventStore Query QueryItem STREAM_EXISTS Since StoredEvent
        StreamChange decide decide_where
    """,
    "counteract.store.postgres.connect": "async_engine",
    "counteract.store.postgres.migrate": "migrate",
    "counteract.store.master_key": "MASTER_KEY_VARIABLE",
    "counteract.subscriptions": "Polling Subscriber Subscription position_of reached",
}
_MODULE_OF = {name: module for module, names in _NAMES_IN.items() for name in names.split()}
_MODULES = frozenset({"decider", "errors", "messages", "personal"})
"""Modules that `import counteract` alone once made attributes of the package."""

keep_former_names()

__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - the stub has it in full


def __getattr__(name: str) -> object:
    # By `__import__`, which a workflow's sandbox replaces and `importlib.import_module` passes by: the sandbox gives
    # the modules that pass through it as they are outside, instead of loading each anew for every workflow.
    if name in _MODULES:
        return __import__(f"{__name__}.{name}", fromlist=(name,))
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(_MODULE_OF[name], fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
