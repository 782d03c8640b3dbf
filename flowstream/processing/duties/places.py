"""Where an app's tables are: how many partitions each has, by what it is of or who uses it.

Pure: declarations and the inputs of the plan in, places or an error with the remedy out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowstream.processing.app import App
from flowstream.processing.duties.inputs import Inputs
from flowstream.processing.errors import AppError, PartitionMismatch
from flowstream.processing.running.plan import COMPACTED, Reader, Stage, TablePlan, ToCreate
from flowstream.processing.tables.crontabs import TABLE as CRONTABS
from flowstream.processing.tables.crontabs import Crontab
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.tables.replicated import GlobalTable
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.table_changes import JoinedTables


def all_tables(app: App) -> dict[str, Table[Any, Any]]:
    """Every table that has a changelog: the app's, and those that its streams and timers keep;
    agents must have been probed.
    """
    found = dict(app.tables)
    hidden = [source.hidden for agent in app.agents.values() for source in agent.inner_sources]
    for tables in (*hidden, *(timers.hidden for timers in app.timers.values())):
        found.update((table.name, table) for table in tables)
    return found


def has_crontabs(app: App) -> bool:
    """Whether an agent is a crontab."""
    return any(isinstance(agent.inner, Crontab) for agent in app.agents.values())


def unplaced(app: App, existing: Mapping[str, int], inputs: Inputs) -> str:
    """What has no place as long as an agent's pattern matches nothing, "" when all has one. Nobody
    can guess it: a changelog that is made with too few partitions keeps them for good.
    """
    if not inputs.waiting:
        return ""
    for agent in inputs.waiting:
        if agent.inner_sources and agent.name not in inputs.bodies:
            return f"what agent {agent.name!r} keeps"
    counts = {count for topic, count in inputs.sources.items() if topic != app.leader}
    for table in all_tables(app).values():
        if table.name == CRONTABS or table.beside_of is not None:
            continue
        there = inputs.sources.get(table.fed_by or "", existing.get(app.changelog(table.name)))
        if (table.partitions or there or app.settings.topic_partitions) not in counts:
            return f"table {table.name!r}"
    return ""


class Places:
    """The tables of a plan in the making."""

    def __init__(
        self, app: App, existing: Mapping[str, int], inputs: Inputs, counts: set[int]
    ) -> None:
        self._app = app
        self._existing = existing
        self._inputs = inputs
        self._counts = counts

    @property
    def _leader(self) -> int | None:
        """How many partitions the topic has that says who leads, if the app has one."""
        return self._inputs.sources.get(self._app.leader)

    def find(self) -> tuple[TablePlan, ...]:
        """Every table with its place; enters what joins by a foreign key read between them."""
        self._place_tables()
        self._place_joins()
        return tuple(self._table(table) for table in self._tables())

    def _tables(self) -> list[Table[Any, Any]]:
        """The app's tables, and those of timers, of agents on inner sources and of windows."""
        found = dict(self._app.tables)
        for table in found.values():
            if table.when_windowed is not None and table.window is None:
                raise AppError(
                    f"table {table.name!r} has on_window_close= and no windows: use what"
                    f" app.Table({table.name!r}, ...).tumbling(60, expires=10) gives, or hopping()"
                )
        for agent in self._app.agents.values():
            for source in agent.inner_sources:
                for table in source.hidden:
                    if source is not agent.inner and table.partitions is None:
                        # Nobody could say it: what an agent's operators keep is where its body is.
                        table.partitions = self._inputs.bodies[agent.name]
                    self._enter(found, source, table)
        for timers in self._app.timers.values():
            if all(agent.inner is not timers for agent in self._app.agents.values()):
                raise AppError(f"{timers!r} would never fire: write an agent, @app.agent(timers)")
            for table in timers.hidden:
                self._enter(found, timers, table)
        return list(found.values())

    def _place_tables(self) -> None:
        """Tables that nobody can say it of: crontabs are where every app has a partition 0, the
        table of a topic is partitioned as it is.
        """
        for table in self._app.tables.values():
            if table.partitions is None and table.fed_by in self._inputs.sources:
                table.partitions = self._inputs.sources[table.fed_by]
                if table.versions is not None:
                    table.versions.partitions = table.partitions
        for agent in self._app.agents.values():
            if isinstance(agent.inner, Crontab) and self._counts:
                for table in agent.inner.hidden:
                    table.partitions = self._leader or min(self._counts)

    def _place_joins(self) -> None:
        """Joins of tables: by one key both have as many partitions; by a foreign key the topics
        between them have as many as the table that reads them.
        """
        for agent in self._app.agents.values():
            if isinstance(agent.inner, JoinedTables):
                left, right = (self._partitions_of(table) for table in agent.inner.both)
                for table in agent.inner.hidden:
                    table.partitions = left
                if left != right:
                    raise PartitionMismatch(
                        f"{agent.inner!r} joins {agent.inner.both[0].name!r} ({left} partitions)"
                        f" with {agent.inner.both[1].name!r} ({right}): equal keys would never"
                        " meet. Re-key the stream that fills one of them with group_by(...,"
                        f" partitions={left}), or join with on=, which brings them together"
                    )
        read = {agent.inner for agent in self._app.agents.values()}
        for join in self._app.foreign_joins:
            if join not in read:
                raise AppError(f"nobody reads {join!r}: write @app.agent(app.join(...))")
            join.place(*(self._partitions_of(table) for table in join.both))
            for agent in self._app.agents.values():
                if agent.inner is None and agent.source_topic in join.topics:
                    self._inputs.read(agent)

    def _partitions_of(self, table: Table[Any, Any]) -> int:
        """How many partitions a table of the app has."""
        return table.partitions or self._table(table).partitions

    def _enter(
        self,
        found: dict[str, Table[Any, Any]],
        source: InnerSource[Any, Any],
        table: Table[Any, Any],
    ) -> None:
        if found.setdefault(table.name, table) is not table:
            raise AppError(
                f"table {table.name!r} has the name of one that {source!r} needs: rename it"
            )

    def _table(self, table: Table[Any, Any]) -> TablePlan:
        counts = self._counts
        changelog = self._app.changelog(table.name)
        partitions = table.partitions
        if partitions is None and table.beside_of is not None:
            partitions = table.beside_of.partitions
        usual = self._app.settings.topic_partitions
        if partitions is None and usual in counts:
            partitions = usual
        if partitions is None:
            if len(counts) != 1:
                raise PartitionMismatch(
                    f"table {table.name!r} must say partitions=N: the app's topics have"
                    f" {', '.join(map(str, sorted(counts))) or 'no'} partitions"
                )
            (partitions,) = counts
        elif partitions not in (counts if table.name != CRONTABS else {*counts, self._leader}):
            raise PartitionMismatch(
                f"table {table.name!r} is declared with {partitions} partitions but no agent reads"
                f" a topic with as many: they have {', '.join(map(str, sorted(counts)))}"
            )
        before = self._existing.get(changelog, partitions)
        if before != partitions:
            raise PartitionMismatch(
                f"table {table.name!r} was built with {before} partitions (its changelog"
                f" {changelog!r}) and its input has {partitions} now: rows would be looked for in"
                " the wrong partition. Copy the input into a topic with the old number of"
                " partitions, or start a new app id"
            )
        if changelog not in self._existing:
            config = {**COMPACTED, **table.changelog_config}
            self._inputs.create[changelog] = ToCreate(changelog, partitions, config)
        return TablePlan(table, partitions, changelog)


def check_lookups(readers: Iterable[tuple[Reader, int]], tables: Mapping[str, int]) -> None:
    """Refuse agents that join their events with tables of other numbers of partitions: no event
    would find the row of its key. `readers` come with the number of partitions that each has.
    """
    for reader, here in readers:
        for table in reader.agent.lookups if reader.stage is not Stage.FORWARD else ():
            if isinstance(table, GlobalTable):
                continue
            agent, there = reader.agent.name, tables.get(table.name)
            if there is None:
                raise AppError(
                    f"agent {agent!r} joins with table {table.name!r}, which is of another app:"
                    " declare it in the app of the agent"
                )
            if here != there:
                kept = table.fed_by or table.name
                of = "" if table.fed_by is None else f", as topic {table.fed_by!r} has"
                raise PartitionMismatch(
                    f"agent {agent!r} joins {reader.topic!r} ({here} partitions) with table"
                    f" {table.name!r} ({there}{of}): equal keys would never meet. Re-key the stream"
                    f" with group_by(..., partitions={there}), or have {kept!r} with {here}"
                    " partitions, or a GlobalTable, which every worker holds whole"
                )
