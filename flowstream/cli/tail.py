"""`flowstream tail`: the records of a topic as they come, one JSON object per line."""

from __future__ import annotations

import asyncio
import base64
import heapq
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, connected, partitions_of, perform
from flowstream.transport.admin import Admin
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord, TopicPartition

READ_TIMEOUT_MS = 100
"""Partitions share a connection, and each waits its turn: they share this time, too."""
LEAST_TIMEOUT_MS = 5
"""Else the broker would be asked without a pause."""


def command(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    broker: Broker = None,
    data: Data = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="earliest (unless --count is given), latest, or an offset."),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="The same as --from earliest.")
    ] = False,
    partition: Annotated[
        list[int] | None,
        typer.Option("--partition", "-p", min=0, help="Only this one; repeatable."),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-n",
            min=1,
            help="The newest so many, or with --from the first from there; then stop.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or stop at the end.")
    ] = True,
    uncommitted: Annotated[
        bool, typer.Option("--uncommitted", help="Show open and aborted transactions too.")
    ] = False,
) -> None:
    """Print the committed records of a topic, and those to come, until Ctrl-C.

    With --count: the newest of all partitions, by their times. If there are fewer yet, those that
    come are waited for.
    """
    where = start_of(start, from_beginning=from_beginning)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            tps = await partitions_of(cluster, topic, partition)
            admin = Admin(cluster)
            ends = await admin.end_offsets(tps, committed=not uncommitted)
            starts = await admin.beginning_offsets(tps)
            if where == "latest":
                starts = ends
            elif where not in (None, "earliest"):
                tell_beyond(int(where), ends, follow=follow)
                starts = {tp: min(max(int(where), starts[tp]), ends[tp]) for tp in tps}
            readers = {
                tp: PartitionReader(cluster, tp, starts[tp], committed_only=not uncommitted)
                for tp in tps
            }
            printer = Printer(count)
            if where is None and count is not None:
                for tp, record in await newest(readers, ends, count):
                    printer.print(tp, [record])
            await read(readers, printer, None if follow else ends)

    perform(work)


def start_of(start: str | None, *, from_beginning: bool) -> str | None:
    """What --from and --from-beginning say, if anything."""
    if from_beginning:
        if start not in (None, "earliest"):
            raise typer.BadParameter(f"--from {start} is not --from-beginning: use one of them")
        return "earliest"
    if start in (None, "earliest", "latest"):
        return start
    if not (start.isascii() and start.isdigit()):
        raise typer.BadParameter(f"--from {start!r}: use earliest, latest or an offset")
    return start


async def newest(
    readers: Mapping[TopicPartition, PartitionReader],
    ends: Mapping[TopicPartition, int],
    count: int,
) -> list[tuple[TopicPartition, LogRecord]]:
    """The `count` newest records of all partitions, by their times, each partition in its own
    order. The readers, which stand at the first records, stand behind the last ones then.
    """
    parts = await asyncio.gather(
        *(last_of(reader, ends[tp], count) for tp, reader in readers.items())
    )
    found = [[(tp, each) for each in part] for tp, part in zip(readers, parts, strict=True)]
    return list(heapq.merge(*found, key=lambda each: each[1].timestamp))[-count:]


async def last_of(reader: PartitionReader, end: int, count: int) -> list[LogRecord]:
    """A partition's last records. Offsets have gaps, where records were aborted or compacted or are
    no records: as long as too few are found, more offsets are looked through.
    """
    first, span = reader.position, count
    while True:
        begin = reader.position = max(first, end - span)
        found: deque[LogRecord] = deque(maxlen=count)
        while reader.position < end:
            found.extend(await reader.read(READ_TIMEOUT_MS))
        if len(found) == count or begin == first:
            return list(found)
        span *= 8


def tell_beyond(start: int, ends: Mapping[TopicPartition, int], *, follow: bool) -> None:
    """Say which partitions have no such offset yet: silence looks like a topic without records."""
    what = "waiting there for what comes" if follow else "nothing to show"
    for tp, end in sorted(ends.items()):
        if start > end:
            where = f"{tp.topic}-{tp.partition} ends at offset {end}"
            typer.echo(f"{where}, so --from {start} is beyond it: {what}", err=True)


class Printer:
    """Prints records until `count` of them are printed."""

    def __init__(self, count: int | None) -> None:
        self._left = count
        self.done = asyncio.Event()

    def print(self, tp: TopicPartition, records: Sequence[LogRecord]) -> None:
        """Print one batch."""
        for record in records:
            if self.done.is_set():
                return
            typer.echo(line_of(tp, record))
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    self.done.set()


async def read(
    readers: Mapping[TopicPartition, PartitionReader],
    printer: Printer,
    stops: Mapping[TopicPartition, int] | None,
) -> None:
    """Read all partitions side by side until they end or the printer has enough."""

    timeout_ms = max(LEAST_TIMEOUT_MS, READ_TIMEOUT_MS // len(readers))

    async def one(tp: TopicPartition, reader: PartitionReader) -> None:
        while stops is None or reader.position < stops[tp]:
            printer.print(tp, await reader.read(timeout_ms))

    if printer.done.is_set():
        return
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(tp, reader)) for tp, reader in readers.items()]
        stopper = group.create_task(stop_at(printer.done, tasks))
        await asyncio.wait(tasks)
        stopper.cancel()


async def stop_at(done: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel the tasks when the event is set."""
    await done.wait()
    for task in tasks:
        task.cancel()


def line_of(tp: TopicPartition, record: LogRecord) -> str:
    """A record as a line of JSON. Half of a surrogate pair, which is no text, stays escaped."""
    line = json.dumps(described(tp, record), ensure_ascii=False)
    return line.encode("utf-8", "backslashreplace").decode()


def described(tp: TopicPartition, record: LogRecord) -> dict[str, object]:
    """A record as a JSON object. A value that is a JSON object or array is shown as one."""
    return {
        "topic": tp.topic,
        "partition": tp.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text_of(record.key),
        "value": value_of(record.value),
        "headers": [[name, text_of(value)] for name, value in record.headers],
    }


def value_of(value: bytes | None) -> object:
    """JSON objects and arrays as such, everything else as text."""
    if value is not None and value[:1] in (b"{", b"["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # no JSON, or deeper than anybody means
            return text_of(value)
    return text_of(value)


def text_of(raw: bytes | None) -> object:
    """Text, or an object with base64 for bytes that are no text."""
    if raw is None:
        return None
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}
