"""The event store on PostgreSQL: everything that runs SQL for it.

- The store: `event_store`. Its methods run on `append`, `load`, `read`, `query`, `as_of` and `high_water_mark`; on
  `snapshots` and `fingerprint` for states that are kept, `vault` for personal data, `archived` for streams whose events
  are in a file, `inline` for projections within an append, and `notifier` to wake subscribers.
- Connections: `urls`, `connect`, `connection`, `pool` and `errands`. `driver_errors` and `error_texts` turn the
  driver's errors into those of `counteract.errors`; `statements` shows other sessions' SQL without its values.
- The schema: `schema` declares the tables, `migrations/` makes them, `sql/` has the functions, `install/` puts
  functions, triggers, roles and rights in place, and `migrate` runs all of it. `readiness` says what a database lacks;
  `names`, `rights` and `sequence` say what should be there.
- Work for the owner of the tables: `restored` after commits were lost, `rewrap` for a new master key.
"""

from counteract.store.postgres.event_store import PostgresEventStore

__all__ = ["PostgresEventStore"]
