"""A task running here: its stores, table partitions and agent instances.

Shell around the pure `Task`: opens, restores, feeds, and hands an epoch what has completed. Knows
no consumer and no transaction.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping, Sequence

from flowstream.processing.events.event import Arrival
from flowstream.processing.events.redriven import Addressee, has_redriven, shared_out
from flowstream.processing.running.feed import UnitFeed
from flowstream.processing.running.firing import InnerInstance
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.kinds import inner_instance, instance_kind, lane_kind
from flowstream.processing.running.lanes import Lanes
from flowstream.processing.running.plan import Plan, Reader, TablePlan
from flowstream.processing.running.sensing import sensed_views
from flowstream.processing.running.surroundings import Shelf, Surroundings
from flowstream.processing.running.task_time import TaskTime
from flowstream.processing.running.turns import share_turns
from flowstream.processing.running.viewing import views_of
from flowstream.processing.tables.replicated import Replicas
from flowstream.processing.tables.rows import refuse_other_rows, refuse_other_windows
from flowstream.processing.units.epoch import TableRows
from flowstream.processing.units.prefix import PrefixTask
from flowstream.processing.units.task import Source, TaskId, TaskState
from flowstream.processing.units.unit import Output
from flowstream.processing.watching.meters import Taken
from flowstream.state.store import StateStore
from flowstream.state.table import TablePartition
from flowstream.transport.types import TopicPartition


def loop_ms() -> int:
    """The event loop's clock, for how long a source has been silent."""
    return round(asyncio.get_running_loop().time() * 1000)


class RunningTask:
    """One task of this worker."""

    def __init__(self, id: TaskId, plan: Plan, around: Surroundings) -> None:
        self.id = id
        self.task = plan.task_of(id)
        self.tables: list[tuple[TablePlan, TablePartition]] = []
        self.instances: dict[str, Sequence[Instance]] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.stores: dict[str, StateStore] = {}
        self.held: dict[str, Mapping[str, int]] = {}
        """Topics whose events wait, each with those that are read first, up to these offsets."""
        self.fed_ms: dict[str, int] = {}
        """By topic and the loop's clock: when records came last."""
        self._plan = plan
        self._around = around
        self._time = TaskTime(id, plan)
        self._inner: list[InnerInstance] = []
        self._lanes: dict[str, Lanes] = {}
        """Of topics whose agent has several instances per partition."""

    def __repr__(self) -> str:
        return f"RunningTask({self.id}, {self.task.state.value})"

    @property
    def changelogs(self) -> list[tuple[str, int]]:
        """The changelogs of its tables, this number of them."""
        return [(plan.changelog, self.id.number) for plan, _ in self.tables]

    @property
    def table_plans(self) -> list[TablePlan]:
        """Tables that have this task's number of partitions."""
        return [plan for plan in self._plan.tables if plan.partitions == self.id.partitions]

    def prepare(self, stores: Mapping[str, StateStore]) -> Generator[None, None, None]:
        """Open the tables over restored stores. What comes due in them is read row by row: whoever
        drives this lets others run at each pause.
        """
        for plan in self.table_plans:
            table = plan.table
            if table.window is None:
                refuse_other_rows(
                    table.name, table.row_keys, stores[table.name], expires=table.ttl_ms is not None
                )
            refuse_other_windows(table.name, table.written_as, stores[table.name])
            part = TablePartition(
                table.name,
                self.id.number,
                stores[table.name],
                table.row_codec,
                most_bytes=self._around.output(plan.changelog).roomy,
                mend=table.mend,
            )
            self.tables.append((plan, part))
            yield from self._time.add(plan, part)
        yield from self._time.load()
        self.stores.update(stores)

    def open(
        self, positions: Mapping[TopicPartition, int], replicated: Mapping[str, Replicas]
    ) -> None:
        """Begin to run at these positions over the tables that were prepared, beside those that are
        replicated to this worker.
        """
        views, beside = views_of(self.tables, replicated, self.id)
        if sensors := self._around.onlookers.sensors:
            declared = self._around.onlookers.app.tables
            views = sensed_views(views, declared, sensors)
            beside = sensed_views(beside, declared, sensors)
        time = self._time
        idle_ms = round(self._around.settings.source_idle * 1000)
        topics = [topic for topic, _ in sorted(positions)]
        now_ms = loop_ms()
        self.fed_ms.update(dict.fromkeys(topics, now_ms))
        time.start(topics, idle_ms=idle_ms, now_ms=now_ms)
        shelf = Shelf(
            views, beside, time.timed, time.watched, time.marks, time.dues, time.clock,
            time.watermarks, time.is_minded,
        )  # fmt: skip
        self.committed.update((tp, offset) for tp, offset in positions.items())
        for (topic, number), position in sorted(positions.items()):
            readers = self._plan.readers_of(topic)
            source = self.task.add_source(topic, number, position, len(readers))
            self.instances[topic] = self._instances(readers, source, shelf)
        self._open_inner(shelf)
        share_turns(self.all_instances, asyncio.get_running_loop().time)
        self.task.move(TaskState.RUNNING)
        for instance in self.all_instances:
            instance.start()

    def _instances(
        self, readers: Sequence[Reader], source: Source, shelf: Shelf
    ) -> Sequence[Instance]:
        is_sensed = bool(self._around.onlookers.sensors)
        if isinstance(self.task, PrefixTask) and readers[0].agent.concurrency > 1:
            lane = lane_kind(is_sensed=is_sensed)
            lanes = Lanes(readers[0], self.task, source, shelf, self._around, lane)
            self._lanes[source.topic] = lanes
            return lanes.lanes
        group = [
            instance_kind(reader, is_sensed=is_sensed)(
                reader, index, self.task, source, shelf, self._around
            )
            for index, reader in enumerate(readers)
        ]
        for instance in group:
            instance.peers = group
        return group

    def take_marks(self) -> list[Output]:
        """Marks to write into repartition topics, behind what was forwarded there."""
        wall_ms = self._around.wall_time_ms()
        return self._time.take_marks(self._around.output, loop_ms(), wall_ms)

    def _open_inner(self, shelf: Shelf) -> None:
        for inner in self._plan.inner:
            if inner.partitions == self.id.partitions:
                name = inner.source.name
                source = self.task.add_source(name, self.id.number, 0, 1, inner=True)
                due = self._time.due_of[name]
                instance = inner_instance(
                    inner, due, self.task, source, shelf, self._around, self._lanes
                )
                self.instances[name] = [instance]
                self._inner.append(instance)
        rota = [instance for instance in self._inner if not instance.is_by_wall_clock]
        rota.sort(key=lambda instance: instance.span_ms)
        for instance in rota:
            instance.rota = rota

    def tick(self) -> None:
        """Time has passed: advance the watermark, and wake who has something due."""
        if self._time.clock is not None and self.is_running:
            pending = {unit.source for unit in self.task.pending}
            # What came due in a table may be of any source.
            is_any = any(self.task.sources[index].is_inner for index in pending)
            at_work = [
                source.index
                for source in self.task.sources
                if not source.is_inner
                and (
                    is_any
                    or source.index in pending
                    or source.topic in self.held
                    or self._is_busy(source.topic)
                )
            ]
            self._time.advance(at_work, loop_ms())
        for instance in self._inner:
            instance.refill()
            if instance.is_due:
                instance.wake()
        if isinstance(self.task, PrefixTask) and self.task.is_worth_settling:
            self._settle(self.task)
        if not self.task.is_clogged:
            # There may have been too many when they were asked.
            for each in self.all_instances:
                if each.ready:
                    each.wake()
            for lanes in self._lanes.values():
                lanes.feed(())

    @property
    def fires_more(self) -> bool:
        """Whether something is due that only waits for its turn of the loop."""
        return any(instance.was_cut_short for instance in self._inner)

    def _settle(self, task: PrefixTask) -> None:
        """What concurrent agents have completed joins the open epoch, as far as it may."""
        lanes = next(iter(self._lanes.values()))
        for unit in task.settled():
            lanes.merge(unit)

    def _is_busy(self, topic: str) -> bool:
        """Whether events of a source wait or are processed."""
        busy = any(each.record is not None for each in self.instances[topic])
        return busy or bool(self.queued(topic))

    def has_left(self, topic: str) -> bool:
        """Whether events of a source are here that its position is not behind yet."""
        index = self._source(topic).index
        return self._is_busy(topic) or any(unit.source == index for unit in self.task.pending)

    @property
    def all_instances(self) -> list[Instance]:
        """Instances of every source."""
        return [instance for group in self.instances.values() for instance in group]

    @property
    def is_running(self) -> bool:
        """True when events may be fed."""
        return self.task.state is TaskState.RUNNING

    def feed(self, topic: str, records: Sequence[Arrival]) -> None:
        """Hand records to the instances of a source."""
        group = self.instances[topic]
        self.fed_ms[topic] = now_ms = loop_ms()
        if self._time.clock is not None:
            self._time.clock.fed(self._source(topic).index, now_ms)
        if topic in self._lanes:
            self._lanes[topic].feed(self._shares(records, group[:1])[0])
            return
        if len(group) > 1:
            self._source(topic).fed([record.offset for record in records])
        for instance, share in zip(group, self._shares(records, group), strict=True):
            instance.feed(share)

    def _shares(
        self, records: Sequence[Arrival], group: Sequence[Instance]
    ) -> Sequence[Sequence[Arrival]]:
        """What each of a source's instances sees of these records: all, but what is sent back to
        another agent, or to its other side.
        """
        if not has_redriven(records):
            return [records] * len(group)
        readers = [Addressee(each.agent.name, each.reader.side) for each in group]
        return shared_out(records, self._around.app_id, readers)

    def _source(self, topic: str) -> Source:
        return next(source for source in self.task.sources if source.topic == topic)

    def queued(self, topic: str) -> int:
        """Records that wait in the longest queue of a source."""
        lanes = self._lanes.get(topic)
        if lanes is not None:
            return len(lanes)
        return max((len(instance.ready) for instance in self.instances[topic]), default=0)

    def taken(self) -> Counter[Taken]:
        """Events that each agent has taken, by source."""
        found: Counter[Taken] = Counter()
        for topic, group in self.instances.items():
            for instance in group:
                found[instance.agent.name, topic] += instance.taken
        return found

    def waiting(self, topic: str) -> tuple[int, int | None]:
        """Records of a source that are here and not processed, and the time of the oldest."""
        if topic in self._lanes:
            return self._lanes[topic].waiting()
        most, oldest_ms = 0, None
        for each in self.instances[topic]:
            here = len(each.ready) + (each.record is not None)
            if here > most:
                most = here
                oldest_ms = (each.record or each.ready[0]).timestamp
        return most, oldest_ms

    @property
    def dirty(self) -> int:
        """Keys that the open epoch changes."""
        return sum(part.dirty for _, part in self.tables)

    def take_offsets(self) -> dict[tuple[str, int], int]:
        """Offsets that moved since they were last taken."""
        if isinstance(self.task, PrefixTask):
            self._settle(self.task)
        moved = {
            tp: offset for tp, offset in self.task.offsets().items() if offset != self.committed[tp]
        }
        self.committed.update(moved)
        return moved

    def take_rows(self) -> list[TableRows]:
        """Close the open epoch of every table."""
        self._time.expire()
        taken = []
        for plan, part in self.tables:
            marks = self._time.changed_marks(part.name)
            if not part.dirty and not marks:
                continue
            rows = part.close()
            rows.update(marks)
            self._time.record(part.name, rows)
            changelog = (plan.changelog, self.id.number)
            taken.append(TableRows(part, changelog, rows, self._source_offset()))
        return taken

    def _source_offset(self) -> int:
        """The sum of the task's positions: it grows with every commit and orders two stores."""
        return sum(source.position for source in self.task.sources)

    async def stop(self) -> None:
        """Take no more events; unfinished units leave no trace, completed ones may commit."""
        if self.task.state is not TaskState.CLOSING:
            self.task.move(TaskState.CLOSING)
        await asyncio.gather(*(instance.close() for instance in self.all_instances))

    def close(self) -> None:
        """Forget what is uncommitted."""
        for _, part in self.tables:
            part.drop()
        self.task.move(TaskState.CLOSED)

    def stuck(self) -> list[UnitFeed]:
        """Instances with an open unit."""
        return [instance for instance in self.all_instances if instance.is_busy]
