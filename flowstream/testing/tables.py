"""What is committed of a table, as the changelog tells it.

Shell: reads the whole changelog each time, which a test can afford.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flowstream.processing.tables.set_tables import MemberRows
from flowstream.processing.tables.showing import Shown, event_time, shown
from flowstream.processing.tables.table import Table
from flowstream.state.changelog import fold
from flowstream.state.expiring import TIME_ROW
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.testing.context import AppContext


class TableView(Mapping[Any, Any]):
    """The table at one moment. A windowed table's keys are (key, start of the window in seconds);
    a set table's values are sets.
    """

    def __init__(self, name: str, rows: list[Shown], *, is_set: bool) -> None:
        self._name = name
        self._rows: dict[Any, Any] = {}
        for row in rows:
            key = row.key if row.window is None else (row.key, row.window / 1000)
            if is_set:
                self._rows.setdefault(key, set()).add(row.value)
            else:
                self._rows[key] = row.value

    def __getitem__(self, key: Any) -> Any:
        return self._rows[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"<table {self._name}: {self._rows!r}>"


def table_view(context: AppContext, table: Any) -> TableView:
    """A table, or what stands for one (a windowed or a set table), as it is committed."""
    rows = rows_of(table)
    found: list[Shown] = []
    for raw in raw_rows(context, rows.name):
        now_ms = event_time(rows, raw.get(TIME_ROW))
        for row, data in sorted(raw.items()):
            each = shown(rows, row, data, now_ms)
            if each is not None:
                found.append(each)
    return TableView(rows.name, found, is_set=isinstance(rows, MemberRows))


def rows_of(table: Any) -> Table[Any, Any]:
    """The table below what an app holds in its hands."""
    for name in ("rows", "table"):
        inner = getattr(table, name, None)
        if isinstance(inner, Table):
            return inner
    if isinstance(table, Table):
        return table
    raise TypeError(f"{table!r} is no table of an app")


def raw_rows(context: AppContext, name: str) -> list[dict[bytes, bytes]]:
    """The rows of each partition as bytes."""
    topic = context.app.changelog(name)
    logs = context.broker.node.cores.logs
    found = []
    for number in range(logs.partitions.get(topic, 0)):
        tp = TopicPartition(topic, number)
        end = logs.by_name[tp].last_stable  # type: ignore[index]
        found.append(context._running().run(_fold(context, tp, end)))
    return found


async def _fold(context: AppContext, tp: TopicPartition, end: int) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes | None] = {}
    reader = PartitionReader(context.cluster, tp, 0)
    while reader.position < end:
        fold(await reader.read(0), rows)
    return {key: row for key, row in rows.items() if row is not None}
