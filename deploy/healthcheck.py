"""Whether the process that shares this container does its work: exit code 0, or 1 and the reason.

`python -m deploy.healthcheck worker QUEUE …` asks Temporal whether a worker of this host polls these task queues.
`python -m deploy.healthcheck projections` asks the database whether a projection has fallen behind.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

import projections
from counteract.projections import Projection

# In seconds. A poll with nothing to fetch takes one minute, so a worker that lives was seen within this time.
SEEN_WITHIN = 90
BEHIND_AT_MOST = 60

_BEHIND = """
select distinct wanted.name
from unnest(%(names)s::text[]) as wanted (name)
left join subscriptions on subscriptions.name = wanted.name
where subscriptions.name is null or exists (
    select from events
    where events.position > subscriptions.position
    and events.created_at < clock_timestamp() - make_interval(secs => %(seconds)s)
)
order by wanted.name
"""


async def unpolled(queues: Sequence[str]) -> list[str]:
    """Those that no worker of this host has asked for work lately."""
    server: dict[str, Any] = {"target_host": "localhost:7233", **ClientConfig.load_client_connect_config()}
    client = await Client.connect(**server)
    return [queue for queue in queues if not any(map(is_alive_here, await pollers(client, queue)))]


async def pollers(client: Client, queue: str) -> list[PollerInfo]:
    kinds = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
    requests = [
        DescribeTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
        for kind in kinds
    ]
    answers = await asyncio.gather(*map(client.workflow_service.describe_task_queue, requests))
    return [poller for answer in answers for poller in answer.pollers]


def is_alive_here(poller: PollerInfo) -> bool:
    # The SDK names a worker for its process and host.
    is_here = poller.identity.endswith(f"@{socket.gethostname()}")
    return is_here and poller.last_access_time.ToSeconds() > time.time() - SEEN_WITHIN


def behind(names: Sequence[str]) -> list[str]:
    """Those with an event waiting for too long, or that never began."""
    with psycopg.connect(os.environ["DATABASE_URL"], connect_timeout=5) as connection:
        rows = connection.execute(_BEHIND, {"names": list(names), "seconds": BEHIND_AT_MOST}).fetchall()
    return [str(name) for (name,) in rows]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("deploy.healthcheck", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("worker").add_argument("queues", nargs="+", metavar="QUEUE")
    kinds.add_parser("projections")
    return parser


def main() -> int:
    options = parser().parse_args()
    try:
        if options.kind == "worker":
            missing = [f"no worker of this host polls {queue}" for queue in asyncio.run(unpolled(options.queues))]
        else:
            names = [each.name for each in vars(projections).values() if isinstance(each, Projection)]
            missing = [f"{name} is behind" for name in behind(names)]
    except (RuntimeError, RPCError, psycopg.Error) as error:
        # The SDK raises RuntimeError when no server answers.
        missing = [str(error)]
    for each in missing:
        print(each, file=sys.stderr)
    return int(bool(missing))


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The SDK's runtime may abort an interpreter that winds down at leisure.
    os._exit(code)
