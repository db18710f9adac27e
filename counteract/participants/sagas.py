"""The table `sagas`: one record for each saga, and its commands as the store has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import to_json
from temporalio.exceptions import ApplicationError

from counteract.commands import command_types
from counteract.lifecycle import Claimed, Ended, LifecycleRecord, Lost, Opened, Opening, RecordedStep, Skip, sagas
from counteract.messages import CommandKind, Event
from counteract.store import PostgresEventStore
from counteract.store.expect import StreamChange
from counteract.store.postgres.append import APPEND_ONE, AppendArguments

# These two are by position, as the store's own placeholders are.
_EVENT = APPEND_ONE.removeprefix("append_event(").removesuffix(")")
_OPEN = f"select is_new, run_id, state, epoch, position from open_saga(%s::jsonb, {_EVENT})"  # noqa: S608 - constants
_END = f"select state, position, contradicted from end_saga(%s::jsonb, {_EVENT})"  # noqa: S608 - constants
_TAKE_UP = "select run_id, state, epoch from take_up_saga(%(saga)s::jsonb)"
_STATE = "select state from sagas where saga_id = %(saga)s and run_id = %(run)s"
_REMEMBER = "select remember_saga(%(saga)s::jsonb)"
_CLAIM = "select state, epoch from claim_saga(%(saga)s, %(run)s, %(pivots)s, %(who)s, %(why)s)"
# A child that was begun may have an effect until its own record says that it has none. Its undo is a command of the
# saga's own, and of no kind, like the row that says that a person gave the child up: whatever became of it, that is to
# be known. The undo is found by what was given: the ids in sagas are compared bytewise, for which commands has no
# index.
_STEPS = """
    select step, type, service, id, status, begun, undone, concluded, given_up from (
        select coalesce(c.started_at, c.recorded_at) as time, c.step, c.activity_type as type, c.task_queue as service,
               c.command_id as id, c.status, c.started_at is not null as begun,
               c.undone_since is not null or (c.status = 'fenced' and c.started_at is not null) as undone,
               exists (select from commands u where u.undoes = c.command_id and u.status = 'done') as concluded,
               given_up.what as given_up
        from commands c left join lateral (
            select u.result ->> %(skip)s as what from commands u
            where u.undoes = c.command_id and u.status = 'done' and u.result ->> %(skip)s is not null
            limit 1
        ) as given_up on true
        where c.saga_id = %(saga)s and (c.run_id = %(run)s or c.run_id is null)
          and c.undoes is null and (c.status <> 'rejected' or given_up.what is not null)
          and (c.kind is not null or c.epoch is null)
        union all
        select k.began_at, k.parent_step, 'ChildSaga', '(a child workflow)', k.parent_command,
               case k.state when 'completed' then 'done' else 'started' end, true,
               u.status is not null, u.status is not distinct from 'done', u.result ->> %(skip)s
        from sagas k left join commands u
             on u.saga_id = %(saga)s and u.run_id = %(run)s and u.step = k.parent_step
             and u.kind is null and u.undoes is null
        where k.parent_saga_id = %(saga)s and k.parent_run_id = %(run)s
          and (k.state not in ('compensated', 'never') or u.result ->> %(skip)s is not null)
    ) as steps
    order by time, id
    offset %(offset)s limit %(limit)s
"""
_SKIP = "counteract skip"
"""The key in the result of an undo, or of what stands for one, by which it was given up: `step` or `undo`."""
_SKIP_STEP = "select skip_step(%(skip)s::jsonb, %(said)s::jsonb)"
_SKIPPED = "select result -> 'result' from commands where command_id = %(skip)s"
_LAST_POSITION = """
    select position from events where aggregate_type = 'saga' and aggregate_id = %(saga)s order by version desc limit 1
"""
_COMMAND = """
    select command from commands where command_id = %(command)s
    union all select child from sagas where parent_command = %(command)s
"""
_ANY_VERSION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class SagaRecords:
    """Reads and writes the records. Each write is one statement, safe to repeat."""

    store: PostgresEventStore

    async def open(self, record: LifecycleRecord, opening: Opening, event: Event, namespace: str) -> Opened:
        """Take up the record, together with the saga's first event."""
        about = opening.model_dump(mode="json") | {"saga_id": record.saga_id, "namespace": namespace}
        is_new, run_id, state, epoch, position = await self._append(_OPEN, about, record, event)
        # A child that may not begin any more has no beginning: its run is told so, like one that comes after the end.
        begins = is_new and state == "forward"
        return Opened(
            position=position, is_new=begins, run_id=run_id, state=state, epoch=epoch, this_run=opening.this_run
        )

    async def take_up(self, saga_id: str, opening: Opening, namespace: str) -> Opened:
        """Take up the record of a saga that has begun."""
        about = opening.model_dump(mode="json") | {"saga_id": saga_id, "namespace": namespace}
        run_id, state, epoch = await self._fetch(_TAKE_UP, {"saga": _json(about)})
        return Opened(position=0, is_new=False, run_id=run_id, state=state, epoch=epoch, this_run=opening.this_run)

    async def state(self, saga_id: str, run_id: str) -> str | None:
        """The state of the record; None where there is none."""
        row = await self._fetch(_STATE, {"saga": saga_id, "run": run_id})
        return row[0] if row else None

    async def end(self, record: LifecycleRecord, event: Event, namespace: str) -> Ended:
        """End the record, together with the saga's last event, unless the store says otherwise."""
        ending = record.ending
        about = ending.model_dump(mode="json") if ending else _trusted(record)
        about |= {"saga_id": record.saga_id, "namespace": namespace}
        state, position, contradicted = await self._append(_END, about, record, event)
        if (state, about["state"]) == ("never", "compensated"):
            # It did nothing, and so nothing of it is left. There is no event of a saga that never began.
            state = "compensated"
        if not position and (last := await self._fetch(_LAST_POSITION, {"saga": record.saga_id})):
            # It had ended before, and whoever asks has forgotten that: its events are where they were.
            (position,) = last
        return Ended(position=position, state=state, contradicted=tuple(contradicted))

    async def remember(self, lost: Lost, namespace: str) -> None:
        """A record for a saga that the store forgot from its beginning, unless there is one."""
        saga = {"saga_id": lost.saga_id, "run_id": lost.run_id, "saga_type": lost.saga_type, "namespace": namespace}
        await self._fetch(_REMEMBER, {"saga": _json(saga | {"epoch": lost.epoch})})

    async def claim(self, saga_id: str, run_id: str, *, who: str, why: str) -> Claimed | None:
        """Turn the saga back, if it is going forward; the state that stands. None where there is no record of it."""
        pivots = [name for (_, name), each in command_types().items() if each.spec.kind is CommandKind.PIVOT]
        about = {"saga": saga_id, "run": run_id, "pivots": pivots, "who": who, "why": why}
        row = await self._fetch(_CLAIM, about)
        return Claimed(state=row[0], epoch=row[1]) if row else None

    async def steps(self, saga_id: str, run_id: str, offset: int, limit: int) -> list[RecordedStep]:
        """The saga's commands and children in the order in which they were begun, without what was refused.

        Commands that services of the release before recorded are among them: their ids say whether they are this
        saga's.
        """
        async with self.store.connection() as connection:
            where = {"saga": saga_id, "run": run_id, "offset": offset, "limit": limit, "skip": _SKIP}
            rows = await (await connection.execute(_STEPS, where)).fetchall()
        names = list(RecordedStep.model_fields)
        return [RecordedStep(**dict(zip(names, row, strict=True))) for row in rows]

    async def command(self, command_id: UUID) -> Mapping[str, Any]:
        """One command as it was recorded. Raises ApplicationError where it was not."""
        row = await self._fetch(_COMMAND, {"command": command_id})
        if not row or row[0] is None:
            raise ApplicationError(f"the command {command_id} is not recorded", type="UnreadableCommand")
        stored: Mapping[str, Any] = row[0]
        return stored

    async def skip(self, skip: Skip) -> None:
        """Put on record that a person gave something up."""
        about = skip.model_dump(mode="json", exclude={"who", "why", "result"})
        said = {_SKIP: skip.what, "who": skip.who, "why": skip.why, "result": skip.result}
        await self._fetch(_SKIP_STEP, {"skip": _json(about), "said": _json(said)})

    async def skipped(self, skip_id: UUID) -> Any:
        """The result that a saga goes on with in the place of a step that was given up."""
        return (await self._fetch(_SKIPPED, {"skip": skip_id}))[0]

    async def _append(self, query: str, about: Mapping[str, Any], record: LifecycleRecord, event: Event) -> Any:
        def statement(appends: AppendArguments) -> tuple[str, Sequence[Any]]:
            return query, (_json(about), *(appends.of_one_event or ()))

        rows = await self.store.append_by(
            statement,
            [StreamChange(sagas.stream(record.saga_id), 0, _ANY_VERSION, [event])],
            event_ids=[record.event_id],
            metadata={"correlation_id": record.saga_id, "saga": record.saga_id},
        )
        return rows[0]

    async def _fetch(self, query: str, parameters: Mapping[str, Any]) -> Any:
        async with self.store.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchone()


def _trusted(record: LifecycleRecord) -> dict[str, Any]:
    """The end of a saga whose history the release before began: nothing in it can be held against the record."""
    state = {"SagaCompleted": "completed", "SagaCompensated": "compensated"}[record.event_type]
    said = {name: str(record.data[name]) for name in ("run_id", "saga_type")}
    return said | {"state": state, "is_trusted": True, "epoch": 0, "who": "the release before"}


def _json(value: Any) -> str:
    return to_json(value).decode()
