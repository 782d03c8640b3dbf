"""The plan of a worker: made at its start, and anew when topics come, go or grow.

Shell; the part of a worker that knows the cluster's topics.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from flowstream.processing.duties.lending import Lending
from flowstream.processing.duties.provision import (
    expects_requests,
    notice_changes,
    provide_replies,
    provision,
)
from flowstream.processing.duties.retaining import retentions
from flowstream.processing.environment.doors import Doors
from flowstream.processing.running.plan import Plan
from flowstream.processing.units.outputs import OutputTopic
from flowstream.transport.admin import Admin
from flowstream.transport.errors import TransportError

log = logging.getLogger("flowstream.worker")


class Planned(Lending):
    """The part of a worker that plans."""

    admin: Admin
    """Questions to the cluster."""
    plan: Plan | None
    _doors: Doors
    _data_dir: Path
    _told: tuple[str, ...] = ()

    async def _look_around(self) -> None:
        """Notice what becomes of the topics, until cancelled."""
        if not self._doors.looks_around:
            return

        def known() -> tuple[Plan, Mapping[str, OutputTopic]]:
            assert self.plan is not None, "who has no plan has not begun to look"
            return self.plan, self._outputs

        await notice_changes(self.app, known, self.admin, self.outgrown, self.hurry)

    async def _provide(self) -> Plan:
        """The plan on the cluster's topics as they are now; what is missing is created."""
        if self.has_looked_for_replies or expects_requests(self.app):
            await provide_replies(self.app, self.admin)
        plan, self._outputs = await provision(self.app, self.admin, self._data_dir, self._doors)
        for output in self._outputs.values():
            self._buffer.limit(output.name, output.max_message_bytes)
        if self._doors.looks_around:
            spans = await retentions({**plan.sources, **self._outputs}, self.admin)
            self.old_records.bound(spans, plan.purged, self._outputs)
        self._tell(plan)
        return plan

    def _tell(self, plan: Plan) -> None:
        """Say what the app waits for, once."""
        held = f", and the app with it: {plan.held_by} has no place before" if plan.held_by else ""
        told = tuple(f"{line}{held}" for line in plan.waiting)
        for line in told:
            if line not in self._told:
                log.log(logging.WARNING if self._held_up(plan) else logging.INFO, "%s", line)
        self._told = told

    def _held_up(self, plan: Plan | None) -> list[str]:
        """What is wrong while the app waits as a whole: agents have their topics, and do not read.
        Where all wait for topics nothing is.
        """
        if plan is None or not plan.held_by:
            return []
        agents = [each for each in self.app.agents.values() if each.topics and not each.by_pattern]
        why = f"{'; '.join(plan.waiting)}, and {plan.held_by} has no place before"
        return [f"agent {each.name!r} reads nothing: {why}" for each in agents]

    async def _plan_anew(self) -> None:
        """Between two memberships. PartitionMismatch when tables hold on to the old numbers."""
        self.is_outgrown = False
        before = self._sizes()
        try:
            plan = await self._provide()
            await self._adopt(plan)
        except TransportError as error:
            self.is_outgrown = True
            await self._endure(error)
            return
        self.plan = plan
        now = self._sizes()
        changed = [f"{name} {n}" for name, n in sorted(now - before)]
        changed += [f"no {name}" for name in sorted({n for n, _ in before} - {n for n, _ in now})]
        log.info("topics are other than they were (%s): joining anew", ", ".join(changed))

    @abstractmethod
    async def _endure(self, error: TransportError) -> None:
        """Wait before it is tried again; or raise what is no use to be."""

    @abstractmethod
    async def _adopt(self, plan: Plan) -> None:
        """Open what the slot holds of the plan's tables, unless that is done."""

    def _sizes(self) -> set[tuple[str, int]]:
        """Every topic that is read or written, with its number of partitions."""
        read = {} if self.plan is None else self.plan.sources
        return {*read.items(), *((name, it.partitions) for name, it in self._outputs.items())}
