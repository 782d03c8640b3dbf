"""The views of a task's tables, by what the table is and by whether units are open side by side.

Pure: makes the makers; a unit's feed calls them once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flowstream.processing.running.plan import TablePlan
from flowstream.processing.tables.replicated import Replicas, ReplicatedView, ReplicatedWitness
from flowstream.processing.tables.table import Table
from flowstream.processing.units.task import TaskId
from flowstream.state.expiring import ExpiringView, UnitTime
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView
from flowstream.state.witness import ExpiringWitness, Witness

Maker = Callable[[UnitTime], TableView]


def views_of(
    tables: Sequence[tuple[TablePlan, TablePartition]], replicated: Mapping[str, Replicas],
    id: TaskId,
) -> tuple[dict[str, Maker], dict[str, Maker]]:  # fmt: skip
    """By table: the views for units that are open one after the other, and side by side. Windowed
    tables have none of the latter: what is late there goes by the order of events.
    """
    views = {part.name: view_of(plan.table, part) for plan, part in tables}
    beside = {
        part.name: witness_of(plan.table, part)
        for plan, part in tables
        if plan.table.window is None
    }
    own = {part.name: part for _, part in tables}
    for name, replicas in replicated.items():
        if replicas.is_seen_by(id.partitions):
            seen = (replicas, own.get(name), id.number)
            views[name] = replicated_view(ReplicatedView, *seen)
            beside[name] = replicated_view(ReplicatedWitness, *seen)
    return views, beside


def view_of(table: Table[Any, Any], part: TablePartition) -> Maker:
    """Makes a unit's view of a table partition."""
    ttl_ms = table.ttl_ms
    if ttl_ms is None:
        return lambda _: TableView(part)
    return lambda unit: ExpiringView(part, unit, ttl_ms)


def witness_of(table: Table[Any, Any], part: TablePartition) -> Maker:
    """Makes the view of a unit that is open beside others."""
    ttl_ms = table.ttl_ms
    if ttl_ms is None:
        return lambda _: Witness(part)
    return lambda unit: ExpiringWitness(part, unit, ttl_ms)


def replicated_view(
    kind: type[ReplicatedView], replicas: Replicas, own: TablePartition | None, number: int
) -> Maker:
    """Makes a unit's view of a replicated table, as a task with this number sees it."""
    return lambda _: kind(replicas, own, number)
