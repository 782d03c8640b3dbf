"""Windows of event time that close: tumbling, hopping, sliding, sessions, and windowed tables.

Every one reads one topic, so that what is late follows from the order of its records alone, and the
model is a single pass over each partition.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flowstream as fs
from tests.checkers.history import Anomaly
from tests.crash.kinds.kind import (
    Kind,
    Logs,
    Record,
    compare,
    compare_in_order,
    grouped,
    watermark,
    watermarked,
)

GRACE_MS = 2_000


class Told(NamedTuple):
    """A window as its agent tells it."""

    partition: int
    key: str | None
    start_ms: int
    end_ms: int
    ids: tuple[str, ...]


def as_json(window: Any) -> list[Any]:
    """A window's result as the agents yield it."""
    return [round(window.start * 1000), round(window.end * 1000), window.value, window.is_final]


class WindowKind(Kind):
    """A kind of windows over one topic, collecting ids."""

    late = 0.06

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """What the agent iterates over."""
        raise NotImplementedError

    def model(self, records: Sequence[Record]) -> tuple[list[Told], list[Record]]:
        """What one partition must tell, and which of its events were late."""
        raise NotImplementedError

    def declare(self, app: fs.App) -> None:
        """One agent."""

        async def told(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for window in self.windows(stream):
                yield as_json(window)

        app.agent(self.source(app), name=self.name, sink=[self.sink(app)])(told)

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S12: each window once, with what belongs in it; S11: what is late is a dead letter."""
        wanted: list[Told] = []
        late: list[tuple[str, int, int]] = []
        for records in logs.partitions(self.inputs[0]).values():
            told, behind = self.model(records)
            wanted += told
            late += [(r.topic, r.partition, r.offset) for r in behind]
        found = []
        for record in logs.of(self.outputs[0]):
            start, end, ids, is_final = record.value
            if not is_final:
                continue
            found.append(Told(record.partition, record.key, start, end, tuple(ids)))
            if record.at_ms != end - 1:
                found.append(Told(record.partition, record.key, record.at_ms, end, ("wrong time",)))
        anomalies = compare(f"{self.name}: windows", wanted, found, "S12")
        return anomalies + compare(
            f"{self.name}: late events", late, logs.dead_letters(self.name), "S11"
        )


class Fixed(WindowKind):
    """Windows of `size_ms` that start every `step_ms`."""

    size_ms: int
    step_ms: int

    def is_wanted(self, event: Any) -> bool:
        """Whether an event comes as far as the windows."""
        del event
        return True

    def model(self, records: Sequence[Record]) -> tuple[list[Told], list[Record]]:
        """A dict of windows."""
        rows, late = filled(records, self.size_ms, self.step_ms, self.is_wanted)
        over = watermark(records)
        told = [
            Told(records[0].partition, key, start, start + self.size_ms, tuple(ids))
            for (key, start), ids in rows.items()
            if start + self.size_ms + GRACE_MS <= over
        ]
        return told, late


def starts(at_ms: int, size_ms: int, step_ms: int) -> Iterator[int]:
    """Of every window that holds an instant."""
    first = at_ms - at_ms % step_ms
    while first > at_ms - size_ms:
        yield first
        first -= step_ms


def filled(
    records: Iterable[Record],
    size_ms: int,
    step_ms: int,
    wanted: Callable[[Any], bool],
) -> tuple[dict[tuple[str | None, int], list[str]], list[Record]]:
    """The ids in each window of a key, and what came too late for all of its own."""
    rows: dict[tuple[str | None, int], list[str]] = defaultdict(list)
    late = []
    for record, over in watermarked(records):
        if not wanted(record.value):
            continue
        is_open = [
            start
            for start in starts(record.at_ms, size_ms, step_ms)
            if start + size_ms + GRACE_MS > over
        ]
        for start in is_open:
            rows[record.key, start].append(record.value["id"])
        if not is_open:
            late.append(record)
    return rows, late


class Tumbling(Fixed):
    """Told when they close."""

    name = "tumbling"
    size_ms = step_ms = 10_000

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """Ten seconds."""
        return stream.tumbling(10, grace=2, late="dead_letter").collect("id")


class Filtered(Tumbling):
    """Of a few of the events; the others move the watermark all the same."""

    name = "filtered"
    late = 0.3

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """As the tumbling ones."""
        return super().windows(stream.filter(self.is_wanted))

    def is_wanted(self, event: Any) -> bool:
        """One in four."""
        return bool(event["n"] % 4 == 0)


class Hopping(Fixed):
    """Told when they close."""

    name = "hopping"
    size_ms, step_ms = 12_000, 5_000

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """Windows that overlap, unevenly."""
        return stream.hopping(12, 5, grace=2, late="dead_letter").collect("id")


class Interim(Fixed):
    """Told every five seconds of event time, and when they close."""

    name = "interim"
    size_ms = step_ms = 30_000

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """Half a minute."""
        return stream.tumbling(30, grace=2, emit=5, late="dead_letter").collect("id")

    def judge(self, logs: Logs) -> list[Anomaly]:
        """Also: each result is longer than the one before, and what was told stays so."""
        anomalies = super().judge(logs)
        by_window: dict[Any, list[Any]] = defaultdict(list)
        for record in logs.of(self.outputs[0]):
            by_window[record.partition, record.key, record.value[0]].append(record.value)
        for window, results in by_window.items():
            ends = [is_final for _, _, _, is_final in results]
            if any(ends[:-1]):
                anomalies.append(Anomaly("told after the end", "S12", f"{self.name}: {window}"))
            for before, after in itertools.pairwise(results):
                one, two = before[2], after[2]
                grew = len(one) < len(two) or (len(one) == len(two) and after[3])
                if one != two[: len(one)] or not grew:
                    evidence = f"{self.name} {window}: {one}, then {two}"
                    anomalies.append(Anomaly("interim result", "S12", evidence))
        return anomalies


class OnChange(Fixed):
    """Told on every change."""

    name = "on-change"
    size_ms, step_ms = 12_000, 5_000

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """As the hopping ones."""
        hopping = stream.hopping(12, 5, grace=2, emit="on_change", late="dead_letter")
        return hopping.collect("id")

    def judge(self, logs: Logs) -> list[Anomaly]:
        """S7: every event tells the windows that it is in, in order."""
        wanted: dict[Any, list[Any]] = defaultdict(list)
        late: list[tuple[str, int, int]] = []
        for number, records in logs.partitions(self.inputs[0]).items():
            rows: dict[Any, list[str]] = defaultdict(list)
            for record, over in watermarked(records):
                spans = [
                    start
                    for start in sorted(starts(record.at_ms, self.size_ms, self.step_ms))
                    if start + self.size_ms + GRACE_MS > over
                ]
                for start in spans:
                    rows[record.key, start].append(record.value["id"])
                    ids = [*rows[record.key, start]]
                    wanted[number, record.key].append([start, start + self.size_ms, ids, False])
                if not spans:
                    late.append((record.topic, number, record.offset))
        found = grouped(logs.of(self.outputs[0]))
        letters = logs.dead_letters(self.name)
        return compare_in_order(f"{self.name}: changes", wanted, found) + compare(
            f"{self.name}: late events", late, letters, "S11"
        )


class Sliding(WindowKind):
    """For each event the window that ends with it."""

    name = "sliding"
    size_ms = 8_000

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """Eight seconds."""
        return stream.sliding(8, grace=2, late="dead_letter").collect("id")

    def model(self, records: Sequence[Record]) -> tuple[list[Told], list[Record]]:
        """All events of a key in the order of time."""
        events: dict[str | None, list[tuple[int, int, str]]] = defaultdict(list)
        late = []
        for number, (record, over) in enumerate(watermarked(records)):
            if record.at_ms + 1 + GRACE_MS <= over:
                late.append(record)
            else:
                place = (record.at_ms, number, record.value["id"])
                bisect.insort(events[record.key], place)
        told, over = [], watermark(records)
        for key, found in events.items():
            for at_ms in sorted({at for at, _, _ in found}):
                ids = [id for at, _, id in found if at_ms - self.size_ms < at <= at_ms]
                if at_ms + 1 + GRACE_MS <= over:
                    start = at_ms + 1 - self.size_ms
                    told.append(Told(records[0].partition, key, start, at_ms + 1, tuple(ids)))
        return told, late


class Session(WindowKind):
    """Events less than a gap apart."""

    name = "session"
    gap_ms = 6_000

    def windows(self, stream: fs.Stream[Any]) -> fs.Stream[Any]:
        """Six seconds."""
        return stream.session(6, grace=2, late="dead_letter").collect("id")

    def model(self, records: Sequence[Record]) -> tuple[list[Told], list[Record]]:
        """A list of sessions per key, of which those that are over take nothing more."""
        kept: dict[str | None, list[tuple[int, int, list[str]]]] = defaultdict(list)
        late = []
        for record, over in watermarked(records):
            start, end = record.at_ms, record.at_ms + self.gap_ms
            mine = [
                each
                for each in kept[record.key]
                if each[0] < end and start < each[1] and each[1] + GRACE_MS > over
            ]
            if not mine and end + GRACE_MS <= over:
                late.append(record)
                continue
            for each in mine:
                kept[record.key].remove(each)
            ids = [id for each in sorted(mine) for id in each[2]]
            span = (min([start, *(e[0] for e in mine)]), max([end, *(e[1] for e in mine)]))
            kept[record.key].append((*span, [*ids, record.value["id"]]))
        over = watermark(records)
        told = [
            Told(records[0].partition, key, start, end, tuple(ids))
            for key, sessions in kept.items()
            for start, end, ids in sessions
            if end + GRACE_MS <= over
        ]
        return told, late


class Closed(Fixed):
    """A windowed table, and the final values of its windows."""

    name = "closed"
    partitions = 2
    size_ms = step_ms = 10_000
    expires: float | None = None

    def declare(self, app: fs.App) -> None:
        """One agent fills, another is told."""
        rows = app.Table(
            f"{self.name}-rows", value_type=list[str], default=list, partitions=self.partitions
        ).tumbling(10, grace=2, late="dead_letter", expires=self.expires)

        async def fill(stream: fs.Stream[Any]) -> None:
            async for key, event in stream.items():
                rows[key] += [event["id"]]

        async def told(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
            async for window in stream:
                yield as_json(window)

        app.agent(self.source(app), name=self.name)(fill)
        app.agent(rows.closed, name=f"{self.name}-told", sink=[self.sink(app)])(told)


class Kept(Closed):
    """The same with windows that are kept after they have closed."""

    name = "kept"
    partitions = 4
    expires = 60.0
