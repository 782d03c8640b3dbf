"""Repartition topics are emptied behind the app: what is committed there nobody reads again.

Shell. They keep records for ever otherwise, because retention would go by the events' times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import TransportError
from flowstream.transport.partitions import delete_records
from flowstream.transport.types import TopicPartition

log = logging.getLogger("flowstream.worker")


async def purge(
    app_id: str,
    cluster: Cluster,
    admin: Admin,
    owned: Callable[[], Iterable[TopicPartition]],
    *,
    interval: float,
) -> None:
    """Every `interval` seconds, delete what the app has committed of the partitions `owned`."""
    done: dict[TopicPartition, int] = {}
    while True:
        await asyncio.sleep(interval)
        try:
            committed = await admin.committed(app_id, sorted(owned()), require_stable=True)
            moved = {
                tp: offset
                for tp, offset in committed.items()
                if offset is not None and offset > done.get(tp, 0)
            }
            if moved:
                await delete_records(cluster, moved)
            done.update(moved)
        except TransportError as error:
            log.debug("repartition topics were not emptied: %s", error)
