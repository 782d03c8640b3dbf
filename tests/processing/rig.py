"""One task of an app in this process, over stores in memory and a log that is a list: no cluster.

What commits and what does not is as in a worker: `commit` closes the open epoch, `crash` forgets
what is open and begins again at the last commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import flowstream as fs
from flowstream.processing.agents.onlookers import Onlookers
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.events.event import Arrival, Retimed
from flowstream.processing.running.plan import Plan
from flowstream.processing.running.runtime import RunningTask
from flowstream.processing.running.surroundings import Counts
from flowstream.processing.units.outputs import OutputTopic
from flowstream.processing.units.task import TaskId, TaskState
from flowstream.processing.units.unit import Output
from flowstream.processing.watching.meters import Meters
from flowstream.state.memory import MemoryStore
from flowstream.transport.types import TopicPartition

Headers = tuple[tuple[str, bytes | None], ...]


class Rig:
    """The task of partition 0 of an app, all of whose topics have one partition."""

    def __init__(self, app: fs.App) -> None:
        self.app = app
        self.log: list[Output] = []
        """Committed outputs."""
        self.counts, self.meters, self.onlookers = Counts(), Meters(), Onlookers(app)
        self.settings = app.settings
        self.app_id, self.dead_letters, self.replies = app.id, app.dead_letters, app.replies
        self.has_looked_for_replies = self.is_outgrown = False
        self.failure: BaseException | None = None
        self.clock_ms = 0
        self.positions: dict[TopicPartition, int] = {}
        self.stores: dict[str, MemoryStore] = {}
        self._inputs: dict[TopicPartition, list[Arrival]] = {}
        self._fed: dict[TopicPartition, int] = {}
        self._open: list[Output] = []
        self._outputs: dict[str, OutputTopic] = {}
        self._plan: Plan | None = None
        self._task: RunningTask | None = None

    # -- what instances ask ---------------------------------------------------------------------

    @property
    def append(self) -> Callable[..., None]:
        """What adds an output to the open epoch."""
        return self.onlookers.appending(lambda *output: self._open.append(cast("Output", output)))

    def output(self, topic: str) -> OutputTopic:
        """Any topic has one partition."""
        return self._outputs.setdefault(topic, OutputTopic(topic, 1))

    def reply_output(self, topic: str) -> OutputTopic | None:
        """Replies go anywhere."""
        return self.output(topic)

    def plan_again(self) -> None:
        """Every topic is known."""
        raise AssertionError("every topic is known")

    def fail(self, error: BaseException) -> None:
        """Remember why the worker would stop."""
        self.failure = self.failure or error

    def wall_time_ms(self) -> int:
        """What the test says."""
        return self.clock_ms

    # -- what a worker does ---------------------------------------------------------------------

    @property
    def task(self) -> RunningTask:
        """The running task."""
        assert self._task is not None
        return self._task

    async def open(self) -> RunningTask:
        """Begin to run at the last commit."""
        if self._plan is None:
            for agent in self.app.agents.values():
                await agent.probe()
            self._plan = make_plan(self.app, dict.fromkeys(self.app.topics, 1))
            for topic in self._plan.sources:
                self.positions[TopicPartition(topic, 0)] = 0
            self.stores = {plan.table.name: MemoryStore() for plan in self._plan.tables}
        self._task = RunningTask(TaskId(1, 0), self._plan, cast("Any", self))
        self._task.task.move(TaskState.RESTORING)
        for _ in self._task.prepare(self.stores):
            pass
        self._task.open(dict(self.positions), {})
        for tp, position in self.positions.items():
            self._fed[tp] = sum(r.offset < position for r in self._inputs.get(tp, ()))
        self.deliver()
        return self._task

    def put(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = (),
        *, at_ms: int = 0,
    ) -> None:  # fmt: skip
        """Add a record to an input."""
        tp = TopicPartition(topic, 0)
        records = self._inputs.setdefault(tp, [])
        # Every third offset belongs to a marker of a transaction.
        offset = len(records) + len(records) // 2
        records.append(Retimed(topic, 0, offset, at_ms, key, value, headers))

    def deliver(self, most: int = 1_000_000) -> None:
        """Hand the task what it has not got yet."""
        for tp, records in self._inputs.items():
            first = self._fed.get(tp, 0)
            given = records[first : first + most]
            self._fed[tp] = first + len(given)
            if given:
                self.task.feed(tp.topic, given)
        self.task.tick()

    def commit(self) -> None:
        """One epoch, from its close to the stores."""
        self.task.tick()
        for tp, offset in self.task.take_offsets().items():
            self.positions[TopicPartition(*tp)] = offset
        rows = self.task.take_rows()
        self.onlookers.closing()
        self.log += self._open
        self._open = []
        for table in rows:
            table.partition.committed(table.rows, None, table.source_offset)
        self.onlookers.committed({})

    async def crash(self) -> None:
        """Everything that is not committed is gone."""
        await self.task.stop()
        self.task.close()
        self._open = []
        self.onlookers.dropped()

    async def settle(self) -> None:
        """Let everything run that waits for nothing."""
        for _ in range(50):
            await asyncio.sleep(0)

    @property
    def is_done(self) -> bool:
        """Whether every input is committed."""
        return all(
            not records or self.positions[tp] > records[-1].offset
            for tp, records in self._inputs.items()
        )

    def told(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """(key, value) of the committed records of a topic."""
        return [(key, value) for tp, key, value, _, _ in self.log if tp.topic == topic]

    def rows(self, table: str) -> Sequence[tuple[bytes, bytes]]:
        """The committed rows of a table."""
        return list(self.stores[table].scan())
