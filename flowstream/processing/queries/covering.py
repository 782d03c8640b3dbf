"""When the effects of given records are in a table partition, wherever its rows are read.

Shell: asks the cluster what other tasks of the app have committed. Read-your-writes is this order:
what those records' own tasks did, and then all that this could have sent to the table's task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from flowstream.processing.errors import AppError
from flowstream.processing.queries.asked import Place
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.worker import Worker

LOOK_AGAIN_S = 0.05

UntilCovered = Callable[[Mapping[TopicPartition, int]], Awaitable[None]]
"""Waits until a table partition holds the effects of its sources up to these offsets."""


async def cover(
    worker: Worker,
    after: Sequence[Place],
    sources: Sequence[TopicPartition],
    until_covered: UntilCovered,
) -> None:
    """Wait until the effects of the records in `after` are in; `sources` are what the task of the
    table partition reads.
    """
    there: dict[TopicPartition, int] = {}
    for topic, number, offset in after:
        tp = TopicPartition(topic, number)
        there[tp] = max(there.get(tp, 0), offset + 1)
    here = {tp: there.pop(tp) for tp in sources if tp in there}
    for tp, end in there.items():
        await _elsewhere(worker, tp, end)
    await until_covered(here)
    others = [tp for tp in sources if tp not in here]
    if others:
        # What those records led to is below these ends, in whatever topic it was sent on.
        await until_covered(await worker.admin.end_offsets(others))


async def _elsewhere(worker: Worker, tp: TopicPartition, end: int) -> None:
    """Wait until another task of the app has committed its source up to there."""
    plan = worker.plan
    if plan is None or tp.topic not in plan.sources:
        raise AppError(f"app {worker.app_id!r} does not read topic {tp.topic!r}")
    if not 0 <= tp.partition < plan.sources[tp.topic]:
        raise AppError(f"topic {tp.topic!r} has no partition {tp.partition}")
    while True:
        found = await worker.admin.committed(worker.app_id, [tp])
        if (found[tp] or 0) >= end:
            return
        await asyncio.sleep(LOOK_AGAIN_S)
