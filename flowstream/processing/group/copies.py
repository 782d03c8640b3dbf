"""What a leader orders a member to copy, carried out; and the word to the group when a copy that is
made for a move is there.

Shell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from flowstream.processing.group.placing import Orders
from flowstream.processing.running.plan import Plan, TablePlan
from flowstream.processing.stores.standing_by import StandingBy
from flowstream.processing.tables.replicated import GlobalTable
from flowstream.processing.units.task import TaskId, task_of


class Copies:
    """The copies of one membership. They stay when it ends: the next one finds them."""

    def __init__(self, plan: Plan, standing_by: StandingBy, probing_interval: float) -> None:
        self._plan = plan
        self._standing_by = standing_by
        self._probing_interval = probing_interval
        self._warming: set[TaskId] = set()
        self._probe: asyncio.TimerHandle | None = None
        self._want_rebalance: Callable[[], None] = lambda: None

    async def obey(
        self, orders: Orders, held: Collection[TaskId], want_rebalance: Callable[[], None]
    ) -> None:
        """Keep copies of what is ordered, beside the tasks that are held here."""
        self.stop()
        self._want_rebalance = want_rebalance
        self._warming = {id for id in map(task_of, orders.warming) if id not in held}
        wanted = [id for id in map(task_of, orders.standby) if id not in held]
        await self._standing_by.hold({id: self._tables(id) for id in wanted}, self._caught_up)
        if any(self._standing_by.is_current(id) for id in self._warming):
            # It caught up before, and the leader thought it too far behind.
            loop = asyncio.get_running_loop()
            self._probe = loop.call_later(self._probing_interval, want_rebalance)

    def _caught_up(self, id: TaskId) -> None:
        if id in self._warming:
            self._want_rebalance()

    def _tables(self, id: TaskId) -> Sequence[TablePlan]:
        return [
            plan
            for plan in self._plan.tables
            if plan.partitions == id.partitions and not isinstance(plan.table, GlobalTable)
        ]

    def stop(self) -> None:
        """Say nothing to the group any more."""
        self._warming = set()
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None
