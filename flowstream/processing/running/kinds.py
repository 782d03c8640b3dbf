"""Which kind of instance a task opens: plain, or one that tells sensors or makes spans as well.

Asked once per task, so that what an app does not use costs nothing per event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from flowstream.processing.running.firing import InnerInstance
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.lanes import Lane, Lanes
from flowstream.processing.running.parked import ParkedInstance
from flowstream.processing.running.plan import InnerReader, Reader, Stage
from flowstream.processing.running.sensing import SensedInstance, SensedLane
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.running.turns import SensedTurnInstance, TurnInner, TurnInstance
from flowstream.processing.time.dues import DuePartition
from flowstream.processing.units.task import Source, Task
from flowstream.processing.watching.tracing import is_active

I = TypeVar("I", bound=Instance)  # noqa: E741 - an instance


def instance_kind(reader: Reader, *, is_sensed: bool) -> type[Instance]:
    """Of an instance that reads a topic's partition."""
    if reader.agent.takes_turns and reader.stage is not Stage.FORWARD:
        return _traced(SensedTurnInstance if is_sensed else TurnInstance)
    return _traced(SensedInstance if is_sensed else Instance)


def lane_kind(*, is_sensed: bool) -> type[Lane]:
    """Of one of several that read a partition side by side."""
    return _traced(SensedLane if is_sensed else Lane)


def inner_instance(
    inner: InnerReader, due: DuePartition, task: Task, source: Source, shelf: Shelf,
    around: Surroundings, lanes: Mapping[str, Lanes],
) -> InnerInstance:  # fmt: skip
    """An instance that reads rows that come due; `lanes` by the topics that the task reads so."""
    agent = inner.reader.agent
    beside = [each for each in lanes.values() if each.lanes[0].agent is agent]
    where = (inner.reader, inner.source, due, task, source, shelf, around)
    if agent.takes_turns and inner.source is not agent.parking:
        return _traced(TurnInner)(*where)
    if inner.source is not agent.parking or not beside:
        return _traced(InnerInstance)(*where)
    parked = _traced(ParkedInstance)(*where)
    parked.join(beside)
    return parked


def _traced(kind: type[I]) -> type[I]:
    if not is_active():
        return kind
    from flowstream.processing.running.traced import traced_kind

    return cast("type[I]", traced_kind(cast("Any", kind)))
