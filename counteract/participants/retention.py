"""Deletes the records of sagas that are over, once nothing can ask for them any more.

Rules P of docs/protocol and docs/decisions/0102 say when that is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionDescription

from counteract.errors import ConfigurationError
from counteract.participants.recovery import described
from counteract.store import PostgresEventStore

PAGE = 200
"""The most records of one page."""
_AT_ONCE = 20
_LEAST = timedelta(days=1)
"""The least time beyond the retention, for attempts that the server has given up on and whose process still runs."""

# Along the key: all pages together go once over the table, however much of it stays. The rest is asked of the page
# alone, and by the index of the commands, whose ids are collated otherwise. Not by `exists`, for which all of the table
# would be hashed.
_OVER = """
    with page as materialized (
        select saga_id, run_id, parent_saga_id, parent_run_id from sagas
        where (saga_id, run_id) > (%(saga)s, %(run)s) and namespace = %(namespace)s
          and state in ('completed', 'compensated', 'never') and since < clock_timestamp() - %(age)s
        order by saga_id, run_id limit %(limit)s
    )
    select s.saga_id, s.run_id, s.parent_saga_id, s.parent_run_id,
           array(select o.run_id from sagas o where o.saga_id = s.saga_id and o.run_id <> s.run_id),
           sent.number, sent.is_late,
           coalesce((select true from sagas p where p.saga_id = s.parent_saga_id and p.run_id = s.parent_run_id),
                    (select true from sagas c where c.parent_saga_id = s.saga_id and c.parent_run_id = s.run_id
                     and c.state not in ('completed', 'compensated', 'never') limit 1), false)
    from page s cross join lateral (
        select count(*) as number, coalesce(bool_or(c.late_since is not null), false) as is_late
        from commands c where c.saga_id = s.saga_id collate "default" and c.run_id = s.run_id
    ) as sent
    order by s.saga_id, s.run_id
"""
_PRUNE = "select sagas, commands from prune_sagas(%(sagas)s, %(runs)s, %(age)s)"


class Over(NamedTuple):
    """A saga that has been over for long enough."""

    saga_id: str
    run_id: str
    parent_id: str | None
    parent_run: str | None
    others: Sequence[str]
    """First runs of other sagas that had the same id."""
    commands: int
    is_late: bool
    has_family: bool


@dataclass(frozen=True, slots=True)
class Pruned:
    """The progress of a pruning, in numbers of sagas and commands."""

    sagas: int = 0
    """Sagas that are deleted, or would be."""
    commands: int = 0
    """Commands of those sagas."""
    known: int = 0
    """Sagas kept since the server still has one of their workflows, which could be reset."""
    late: int = 0
    """Sagas kept since an effect came after its undo, and recovery has yet to undo it again."""
    family: int = 0
    """Sagas kept for a parent or a child."""


async def prune(
    client: Client, store: PostgresEventStore, older_than: timedelta, *, deletes: bool
) -> AsyncIterator[Pruned]:
    """Delete the sagas of the client's namespace that ended longer ago than that, and that the server no longer knows.

    Tells its progress after each page. Without `deletes` nothing is changed. Raises ConfigurationError where the age is
    below the namespace's retention and a day.
    """
    await _refuse_young(client, older_than)
    done = Pruned()
    while True:
        # What a pass keeps, the next one looks at again.
        before, done = done, replace(done, known=0, late=0, family=0)
        async for progress in _pass(client, store, older_than, done, deletes):
            done = progress
            yield done
        # Children come after their parents, which may stand behind them.
        if not deletes or not done.family or done.sagas == before.sagas:
            return


async def _pass(
    client: Client, store: PostgresEventStore, older_than: timedelta, done: Pruned, deletes: bool
) -> AsyncIterator[Pruned]:
    gate = asyncio.Semaphore(_AT_ONCE)
    after = ("", "")
    while page := await over(store, client.namespace, older_than, after):
        after = page[-1].saga_id, page[-1].run_id
        free = [each for each in page if not (each.is_late or each.has_family)]
        gone = await asyncio.gather(*(_is_gone(client, each, gate) for each in free))
        chosen = [each for each, is_gone in zip(free, gone, strict=True) if is_gone]
        sagas, commands = len(chosen), sum(each.commands for each in chosen)
        if deletes and chosen:
            sagas, commands = await _delete(store, chosen, older_than)
        done = Pruned(
            done.sagas + sagas,
            done.commands + commands,
            done.known + len(free) - len(chosen),
            done.late + sum(each.is_late for each in page),
            done.family + sum(each.has_family and not each.is_late for each in page),
        )
        yield done


async def _refuse_young(client: Client, older_than: timedelta) -> None:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    answer = await client.workflow_service.describe_namespace(request)
    least = answer.config.workflow_execution_retention_ttl.ToTimedelta() + _LEAST
    if older_than < least:
        problem = f"{older_than.days} days are too few: the server keeps workflows for {least.days - 1}, and one day more is needed"
        raise ConfigurationError("the age of the sagas to prune", [problem])


async def over(
    store: PostgresEventStore, namespace: str, older_than: timedelta, after: tuple[str, str]
) -> Sequence[Over]:
    """The next page of sagas that are over, after the one with this id and first run, as far as the database knows."""
    saga_id, run_id = after
    where = {"saga": saga_id, "run": run_id, "namespace": namespace, "age": older_than, "limit": PAGE}
    async with store.connection() as connection:
        rows = await connection.execute(_OVER, where)
        return [Over(*row) for row in await rows.fetchall()]


async def _is_gone(client: Client, saga: Over, gate: asyncio.Semaphore) -> bool:
    """Whether the server knows no run of the saga any more, nor of its parent, which may be on record elsewhere."""
    async with gate:
        if await _knows(client, saga.saga_id, saga.run_id, but=frozenset(saga.others)):
            return False
        return not (saga.parent_id and await _knows(client, saga.parent_id, saga.parent_run))


async def _knows(client: Client, saga_id: str, run_id: str | None, *, but: frozenset[str] = frozenset()) -> bool:
    """Whether the server knows any run under this id, whichever it began with, `but` those on record as other sagas.

    Asked in each way: one run may be gone while others are not, and lists are behind.
    """
    if _is_there(await described(client, saga_id, None), but) or _is_there(
        await described(client, saga_id, run_id), but
    ):
        return True
    quoted = saga_id.replace("\\", "\\\\").replace("'", "\\'")
    async for each in client.list_workflows(f"WorkflowId = '{quoted}'"):
        if _is_there(await described(client, saga_id, each.run_id), but):
            return True
    return False


def _is_there(found: WorkflowExecutionDescription | None, but: frozenset[str]) -> bool:
    return found is not None and found.raw_info.first_run_id not in but


async def _delete(store: PostgresEventStore, sagas: Sequence[Over], older_than: timedelta) -> tuple[int, int]:
    about = {"sagas": [each.saga_id for each in sagas], "runs": [each.run_id for each in sagas], "age": older_than}
    async with store.connection() as connection:
        row = await (await connection.execute(_PRUNE, about)).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)
