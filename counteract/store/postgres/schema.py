"""The tables, as declared. `migrations/` creates them, and a test holds the two equal."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.schema import conv

# Names in the style that PostgreSQL itself gives, so that an error names the same thing wherever the table came from.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

_now = text("clock_timestamp()")

events = Table(
    "events",
    metadata,
    # Without a cache: a session that drew numbers ahead would use them after the high water mark has passed them.
    Column("position", BigInteger, Identity(always=True, cache=1), primary_key=True),
    Column("event_id", Uuid, nullable=False, unique=True),
    Column("aggregate_type", Text, nullable=False),
    # Bytewise: ids are compared for equality only, and so the index survives a change of the system's collations.
    Column("aggregate_id", Text(collation="C"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("schema_version", SmallInteger, nullable=False),
    Column("event_data", JSONB, nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    UniqueConstraint("aggregate_type", "aggregate_id", "version"),
    # Events that were stored before this constraint are not held against it.
    CheckConstraint(
        "jsonb_typeof(event_data) = 'object' and jsonb_typeof(metadata) = 'object'", name=conv("events_are_objects")
    ),
    Index("events_correlation_id_idx", text("(metadata ->> 'correlation_id')")),
)

# A table beside the events, not a column of theirs: an append without tags pays nothing, and the tags of archived
# events are still found.
event_tags = Table(
    "event_tags",
    metadata,
    Column("tag", Text(collation="C"), primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("event_type", Text, nullable=False),
)

# The places of consumers that move them in the transactions of their appends.
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("name", Text(collation="C"), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("moved_at", DateTime(timezone=True), nullable=False, server_default=_now),
)

commands = Table(
    "commands",
    metadata,
    Column("command_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("saga_id", Text, nullable=False),
    Column("saga_type", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("activity_type", Text, nullable=False),
    Column("task_queue", Text, nullable=False),
    Column("undoes", Uuid),
    # Null where an undo came first, with a command that cannot be stored.
    Column("command", JSONB),
    Column("result", JSONB),
    Column("started_at", DateTime(timezone=True)),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=_now),
    # Null for what the release before recorded; the kind also for an undo.
    Column("run_id", Text),
    Column("kind", Text),
    Column("epoch", Integer),
    # How often an external effect was begun.
    Column("begun", Integer),
    # A done row that is being undone: no answer any more, though half its undo may be all there ever is.
    Column("undone_since", DateTime(timezone=True)),
    # The effect came after its undo had passed, and has to be undone again.
    Column("late_since", DateTime(timezone=True)),
    # The saga knew of it, and the store did not.
    Column("lost", Boolean),
    CheckConstraint("status in ('started', 'done', 'rejected', 'fenced')", name="status"),
    Index(None, "saga_id"),
    Index(None, "undoes", postgresql_where=text("undoes is not null")),
    Index(None, "late_since", postgresql_where=text("late_since is not null")),
)

# One row for each saga: what it has decided, whoever asks. docs/decisions/0086.
sagas = Table(
    "sagas",
    metadata,
    Column("saga_id", Text(collation="C"), primary_key=True),
    # The first run of the execution, which continue-as-new, retries and resets keep.
    Column("run_id", Text(collation="C"), primary_key=True),
    Column("namespace", Text),
    Column("saga_type", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Grows with each further run: what an earlier one sent out and has not begun is refused.
    Column("epoch", Integer, nullable=False),
    # The run that raised it last.
    Column("last_run", Text, nullable=False),
    # For a child saga: the step of its parent.
    Column("parent_command", Uuid),
    Column("parent_saga_id", Text(collation="C")),
    Column("parent_run_id", Text(collation="C")),
    Column("parent_step", Text),
    # As the parent's ledger has it: how it is undone.
    Column("child", JSONB),
    Column("began_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("since", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("who", Text),
    Column("why", Text),
    CheckConstraint(
        "state in ('forward', 'at the pivot', 'past the pivot', 'turning back', 'completed', 'compensated', 'never')",
        name="state",
    ),
    Index(None, "parent_command", unique=True, postgresql_where=text("parent_command is not null")),
    Index(
        "sagas_parent_idx",
        "parent_saga_id",
        "parent_run_id",
        postgresql_where=text("parent_saga_id is not null"),
    ),
    Index(
        "sagas_open_idx",
        "began_at",
        "saga_id",
        "run_id",
        postgresql_where=text("state not in ('completed', 'compensated', 'never')"),
    ),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("shard", Integer, primary_key=True, server_default=text("0")),
    Column("position", BigInteger, nullable=False, server_default=text("0")),
    # Grows with each owner, and whenever the subscription starts over: what an earlier one would write is refused.
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("owner", Uuid),
    # The server process of the owner's connection: where that is gone, so is the owner.
    Column("owner_pid", Integer),
    Column("leased_until", DateTime(timezone=True)),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    # The seconds that it may be behind, as declared.
    Column("within_seconds", Double),
)

subscription_members = Table(
    "subscription_members",
    metadata,
    Column("name", Text, primary_key=True),
    Column("member", Uuid, primary_key=True),
    Column("alive_until", DateTime(timezone=True), nullable=False),
)

# A stream with a row here, and none that says why it was discarded, is not delivered: its later events are added.
parked_events = Table(
    "parked_events",
    metadata,
    Column("subscription", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("aggregate_type", Text, nullable=False),
    Column("aggregate_id", Text(collation="C"), nullable=False),
    # Null for events that only came after one that failed.
    Column("error", Text),
    Column("parked_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("redrive", Boolean, nullable=False, server_default=text("false")),
    Column("discarded_at", DateTime(timezone=True)),
    Column("discarded_why", Text),
    CheckConstraint("(discarded_at is null) = (discarded_why is null)", name="discarded"),
    Index(None, "subscription", "aggregate_type", "aggregate_id"),
)

# Inline projections: an append of such events that does not keep them is refused (refuse_unprojected).
inline_projections = Table(
    "inline_projections",
    metadata,
    Column("name", Text, primary_key=True),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("since", DateTime(timezone=True), nullable=False, server_default=_now),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("aggregate_type", Text, primary_key=True),
    Column("aggregate_id", Text(collation="C"), primary_key=True),
    # The fingerprint of the code that folded it: other code must not go on from it.
    Column("fingerprint", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # JSON, but never looked into here: text comes back as it went in.
    Column("state", Text, nullable=False),
    Column("taken_at", DateTime(timezone=True), nullable=False, server_default=_now),
    # The signature of a process with the master key. Null: the process that wrote it has none.
    Column("signature", LargeBinary),
)

personal_keys = Table(
    "personal_keys",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column("subject", Text(collation="C"), nullable=False),
    # Encrypted by the master key; destroyed when the subject is forgotten.
    Column("wrapped_key", LargeBinary),
    # The name of the master key; null for what an earlier release wrapped.
    Column("wrapped_by", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=_now),
    Column("forgotten_at", DateTime(timezone=True)),
    CheckConstraint("(wrapped_key is null) = (forgotten_at is not null)", name="forgotten"),
    Index(None, "subject", unique=True, postgresql_where=text("wrapped_key is not null")),
)

archived_streams = Table(
    "archived_streams",
    metadata,
    Column("aggregate_type", Text, primary_key=True),
    Column("aggregate_id", Text(collation="C"), primary_key=True),
    # The last version of the events that left; all before it left, too.
    Column("last_version", Integer, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    # The digest as the function stream_digest makes it.
    Column("digest", LargeBinary, nullable=False),
    Column("file", Text, nullable=False),
    Column("archived_at", DateTime(timezone=True), nullable=False, server_default=_now),
)
