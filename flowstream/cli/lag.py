"""`flowstream lag`: how far an app is behind, per partition, in records and in seconds."""

from __future__ import annotations

import json as jsonlib
import sys
from asyncio import sleep as pause
from contextlib import nullcontext
from typing import Annotated, NamedTuple

import typer

from flowstream.cli.groups import must_be_known, skip_markers
from flowstream.cli.naming import AppId, AppModule, Named, only_one, visiting
from flowstream.cli.options import Broker, Data, Json, perform, print_table, show, table_of
from flowstream.clock import wall_ms
from flowstream.processing.values.moments import moment_text
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import OffsetOutOfRange
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import GroupDescription, TopicPartition

YEAR_S = 365 * 86_400
ONE_RECORD_BYTES = 1 << 16
MOST_READS = 20
"""Over what was aborted; then nobody knows the age."""


class Lag(NamedTuple):
    """A partition that a group reads. `records` are those behind the committed offset; `seconds` is
    the age of the first of them.
    """

    topic: str
    partition: int
    committed: int | None
    end: int
    records: int
    seconds: float | None
    member: str | None


def command(
    app_id: AppId = None,
    module: AppModule = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again and again.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between, with --watch.")] = 2.0,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show how far an app is behind, per partition, in records and in seconds.

    With --watch and --json, one JSON array a line. For APP, any group will do.
    """
    only_one(app_id, module)

    async def work() -> None:
        async with visiting(app_id, module, broker, data) as (cluster, app):
            if not watch:
                _, rows = await measure(cluster, app.id, wall_ms(), app.reads)
                show(Lag._fields, rows if json else map(for_people, rows), as_json=json)
            elif json:
                while True:
                    _, rows = await measure(cluster, app.id, wall_ms(), app.reads)
                    typer.echo(jsonlib.dumps([row._asdict() for row in rows]))
                    sys.stdout.flush()
                    await pause(interval)
            else:
                await live(cluster, app, interval)

    perform(work)


def for_people(row: Lag) -> tuple[object, ...]:
    """A row as a table shows it: for an event of long ago its date, which says more."""
    return row._replace(seconds=shown_age(row.seconds, wall_ms()))  # type: ignore[arg-type]


def shown_age(seconds: float | None, now_ms: int) -> float | str | None:
    """An age in seconds; of more than a year, the date.

    >>> shown_age(2.5, 1_000_000_000_000), shown_age(10**9 - 86_400, 1_000_000_000_000)
    (2.5, 'since 1970-01-02')
    """
    if seconds is None or seconds < YEAR_S:
        return seconds
    at = moment_text(now_ms - round(seconds * 1000))
    return f"since {at[:10]}" if at is not None else "since before 1970"


async def live(cluster: Cluster, app: Named, interval: float) -> None:
    """A table that stays where it is and is drawn anew, until interrupted; where standard output is
    no terminal, one below the other.
    """
    from rich.console import Console
    from rich.live import Live

    console = Console()
    screen = Live(console=console, auto_refresh=False) if console.is_terminal else None
    with screen or nullcontext():
        while True:
            _, rows = await measure(cluster, app.id, wall_ms(), app.reads)
            table = table_of(Lag._fields, map(for_people, rows))
            if screen is None:
                print_table(console, table)
            else:
                screen.update(table, refresh=True)
            await pause(interval)


async def measure(
    cluster: Cluster, group: str, now_ms: int, reads: frozenset[str] = frozenset()
) -> tuple[GroupDescription, list[Lag]]:
    """A group, and how far behind each partition is of its topics and of `reads`: those that nobody
    has and nothing was committed of among them. FlowstreamError when there is none.
    """
    admin = Admin(cluster)
    found, committed = await must_be_known(cluster, group)
    owners = {tp: member for member in found.members for tp in member.partitions}
    known = {*committed, *owners}
    there = await admin.topics(sorted({*reads, *(tp.topic for tp in known)}))
    whole = {TopicPartition(name, n) for name in there for n in range(there[name].partitions)}
    tps = sorted(known | whole)
    ends = await admin.end_offsets(tps, committed=True)
    starts = await admin.beginning_offsets(tps)
    rows = []
    for tp in tps:
        at, owner = committed.get(tp), owners.get(tp)
        begin = starts[tp] if at is None else max(at, starts[tp])
        reached = await skip_markers(cluster, tp, begin, ends[tp])
        behind = max(0, ends[tp] - reached)
        seconds = await age_s(cluster, tp, reached, ends[tp], now_ms) if behind else 0.0
        name = None if owner is None else owner.instance_id or owner.member_id
        rows.append(Lag(tp.topic, tp.partition, at, ends[tp], behind, seconds, name))
    return found, rows


async def age_s(
    cluster: Cluster, tp: TopicPartition, offset: int, end: int, now_ms: int
) -> float | None:
    """The age of the first record from an offset on, None when it cannot be read."""
    reader = PartitionReader(cluster, tp, offset, max_bytes=ONE_RECORD_BYTES)
    for _ in range(MOST_READS):
        try:
            records = await reader.read(0)
        except OffsetOutOfRange:
            return None
        if records:
            return max(0, now_ms - records[0].timestamp) / 1000
        if reader.position >= end:
            break
    return None
