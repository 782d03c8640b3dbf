"""Instances and views that tell sensors about each event and each row.

Chosen when a task opens, and only where the app has sensors: else nobody asks for either per event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from flowstream.processing.events.event import Arrival
from flowstream.processing.running.instance import Instance
from flowstream.processing.running.lanes import Lane
from flowstream.processing.tables.table import Table
from flowstream.processing.time.windows import split_window_key
from flowstream.processing.watching.sensors import Sensor, Sensors
from flowstream.state.expiring import UnitTime
from flowstream.state.table_view import TableView
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.running.feed import UnitFeed

Maker = Callable[[UnitTime], TableView]


class SensedInstance(Instance):
    """An instance whose events are told to sensors."""

    _begun: dict[int, dict[Sensor, Any]]
    _done_to = -1
    """The last offset that it is done with."""

    @property
    def _sensors(self) -> Sensors:
        return self.around.onlookers.sensors

    @property
    def _tp(self) -> TopicPartition:
        return TopicPartition(self.source.topic, self.source.partition)

    @property
    def _stream_name(self) -> str:
        return f"{self.reader.agent.name} <- {self.source.topic}"

    def start(self) -> None:
        """Begin to run."""
        self._begun = {}
        super().start()

    def advance(self) -> Arrival | None:
        """See `UnitFeed.advance`."""
        return self._seen(super().advance())

    def take_ready(self) -> Arrival | None:
        """See `UnitFeed.take_ready`."""
        return self._seen(super().take_ready())

    def _seen(self, record: Arrival | None) -> Arrival | None:
        if record is not None and record.offset not in self._begun:
            self._begun[record.offset] = self._sensors.begun(
                "on_stream_event_in", self._tp, record.offset, self._stream_name, record
            )
        return record

    def complete(self) -> None:
        """See `UnitFeed.complete`."""
        done = [] if self.record is None else [*self._held, self.record]
        super().complete()
        tp, sensors = self._tp, self._sensors
        for record in done:
            offset = record.offset
            begun = self._begun.pop(offset, {})
            for sensor, state in begun.items():
                sensors.ended("on_stream_event_out", {sensor: state}, tp, offset,
                              self._stream_name, record)  # fmt: skip
            self._done_to = max(self._done_to, offset)
            if all(self._is_done_with(peer, offset) for peer in self.peers):
                sensors.told("on_message_out", tp, offset, record)

    def drop(self) -> None:
        """The unit failed: its events begin anew, if they do."""
        self._begun.clear()
        super().drop()

    def _is_done_with(self, peer: UnitFeed, offset: int) -> bool:
        return peer is self or cast("SensedInstance", peer)._done_to >= offset


class SensedLane(SensedInstance, Lane):
    """The same of instances side by side."""

    def complete(self) -> None:
        """See `Lane.complete`: a unit that is done again is not out."""
        if self.record is not None and not self._holds():
            Lane.complete(self)
        else:
            super().complete()


class SensedView:
    """A unit's view of a declared table, that tells sensors what is read and written."""

    def __init__(self, view: TableView, table: Table[Any, Any], sensors: Sensors) -> None:
        self._view = view
        self._table = table
        self._sensors = sensors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._view, name)

    def get(self, row: bytes) -> object:
        """The value of a row."""
        self._sensors.told("on_table_get", self._table, key_of(self._table, row))
        return self._view.get(row)

    def set(self, row: bytes, value: object) -> None:
        """Write a row."""
        self._sensors.told("on_table_set", self._table, key_of(self._table, row), value)
        self._view.set(row, value)

    def delete(self, row: bytes) -> None:
        """Delete a row."""
        self._sensors.told("on_table_del", self._table, key_of(self._table, row))
        self._view.delete(row)


def key_of(table: Table[Any, Any], row: bytes) -> Any:
    """The key that a row belongs to; of a window, with its start in seconds."""
    if table.window is None:
        return table.row_keys.decode(row)
    found = split_window_key(row)
    return None if found is None else (table.key_codec.decode(found[0]), found[1] / 1000)


def sensed_views(
    makers: Mapping[str, Maker], declared: Mapping[str, Table[Any, Any]], sensors: Sensors
) -> dict[str, Maker]:
    """The makers of views, those of declared tables told to sensors."""

    def sensed(name: str, make: Maker) -> Maker:
        table = declared.get(name)
        if table is None:
            return make
        return lambda unit: cast("TableView", SensedView(make(unit), table, sensors))

    return {name: sensed(name, make) for name, make in makers.items()}
