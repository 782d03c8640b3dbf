"""`flowstream groups reset-offsets`: where a group goes on, moved on purpose (G6).

Tells what would change; `--execute` changes it. A group with members keeps its offsets.
"""

from __future__ import annotations

import csv
import json as json_module
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, partitions_of, perform, show
from flowstream.errors import FlowstreamError
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import CommitRefused
from flowstream.transport.partitions import offsets_at
from flowstream.transport.types import Generation, TopicPartition

IDLE = ("Empty", "Dead")
LEAST_SPECIAL = -10
"""Of the times that ListOffsets takes for words; there are six."""
Row = tuple[str, int, int | None, int, int, int]
COLUMNS = ("topic", "partition", "committed", "new", "start", "end")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: one of these is given."""

    edge: str | None = None
    """`earliest` or `latest`."""
    time_ms: int | None = None
    shift: int | None = None
    offset: int | None = None
    file: Mapping[TopicPartition, int] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a partition has, and what the group committed there."""

    start: int
    end: int
    committed: int | None
    at_time: int | None = None
    """First offset that is not older than the time that is asked for; None: all are older."""


def wanted_offset(target: Target, tp: TopicPartition, known: Known) -> int:
    """Where the group is to go on in a partition; see `clipped`."""
    if target.file is not None:
        return target.file[tp]
    if target.offset is not None:
        return target.offset
    if target.shift is not None:
        assert known.committed is not None, f"{tp} is left out: see `shiftable`"
        return known.committed + target.shift
    if target.time_ms is not None:
        return known.end if known.at_time is None else known.at_time
    return known.start if target.edge == "earliest" else known.end


def shiftable(
    tps: Iterable[TopicPartition], committed: Mapping[TopicPartition, int]
) -> list[TopicPartition]:
    """Those of which something is committed; FlowstreamError where that is none. The others stay as
    they are, which is said.
    """
    there = list(tps)
    found = [tp for tp in there if tp in committed]
    rest = ", ".join(f"{tp.topic}-{tp.partition}" for tp in there if tp not in committed)
    if not found:
        raise FlowstreamError(
            f"nothing is committed of {rest} that could be shifted: use --to-offset, --to-earliest"
            " or --to-latest"
        )
    if rest:
        typer.echo(f"warning: nothing is committed of {rest}: nothing is shifted there", err=True)
    return found


def clipped(tp: TopicPartition, wanted: int, known: Known) -> tuple[int, str]:
    """The nearest offset that the partition has, and what to say when that is not the wanted one.

    >>> clipped(TopicPartition("t", 0), 2, Known(3, 9, 7))
    (3, 't-0 begins at offset 3, so it is set to that and not to 2')
    """
    where = f"{tp.topic}-{tp.partition}"
    if wanted < known.start:
        return known.start, (
            f"{where} begins at offset {known.start}, so it is set to that and not to {wanted}"
        )
    if wanted > known.end:
        return known.end, (
            f"{where} ends at offset {known.end}, so it is set to that and not to {wanted}"
        )
    return wanted, ""


def command(
    group: Annotated[str, typer.Argument(help="The group: an app's id.")],
    topic: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", metavar="TOPIC[:P,P]", help="Only there; may be repeated. Else all it has."
        ),
    ] = None,
    to_earliest: Annotated[bool, typer.Option("--to-earliest")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest")] = False,
    to_datetime: Annotated[
        str | None, typer.Option("--to-datetime", metavar="TIME", help="ISO 8601, or ms.")
    ] = None,
    shift_by: Annotated[int | None, typer.Option("--shift-by", help="Back when negative.")] = None,
    to_offset: Annotated[int | None, typer.Option("--to-offset", min=0)] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from-file", metavar="FILE", help="Lines topic,partition,offset; or JSON of --json."
        ),
    ] = None,
    execute: Annotated[bool, typer.Option("--execute", help="Do it; else only tell.")] = False,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Move a group's offsets: a dry run, unless --execute says that it is meant."""
    edges = ["earliest"] * to_earliest + ["latest"] * to_latest
    given = [to_datetime, shift_by, to_offset, from_file]
    if len(edges) + sum(each is not None for each in given) != 1:
        raise typer.BadParameter(
            "say where to, once: --to-earliest, --to-latest, --to-datetime, --shift-by,"
            " --to-offset or --from-file"
        )
    target = Target(
        edge=edges[0] if edges else None,
        time_ms=None if to_datetime is None else milliseconds(to_datetime),
        shift=shift_by,
        offset=to_offset,
        file=None if from_file is None else read_plan(from_file),
    )

    async def work() -> None:
        async with connected(broker, data) as cluster:
            rows = await reset(cluster, group, topic or (), target, execute=execute)
            tables = await changelogs(cluster, group)
        show(COLUMNS, rows, as_json=json)
        warn_of_leftovers(group, repartitions(group, rows), tables)
        if not json and not execute:
            typer.echo("nothing is changed yet: say --execute to do it")

    perform(work)


def warn_of_leftovers(group: str, between: Sequence[str], tables: Sequence[str]) -> None:
    """Say what an app has besides its offsets, which stays as it is."""
    if between:
        typer.echo(
            f"{', '.join(between)} hold what {group} has made of its inputs: with the inputs'"
            " offsets moved too it is read twice. Name the inputs with --topic, or delete these"
            " topics",
            err=True,
        )
    if tables:
        typer.echo(
            f"{group} keeps tables ({', '.join(tables)}): they stay as they are, so what is read"
            " again counts again. To start over delete these topics and the app's state directory"
            " too",
            err=True,
        )


async def reset(
    cluster: Cluster, group: str, topics: Iterable[str], target: Target, *, execute: bool
) -> list[Row]:
    """One row per partition; the offsets are committed when `execute`."""
    admin = Admin(cluster)
    await check_idle(admin, group)
    committed = await admin.group_offsets(group)
    tps = await _partitions(cluster, topics, target, committed)
    if not tps:
        raise FlowstreamError(
            f"group {group!r} has no offsets: name the topics with --topic, or see"
            " `flowstream groups list`"
        )
    if target.shift is not None:
        tps = shiftable(tps, committed)
    starts, ends = await admin.beginning_offsets(tps), await admin.end_offsets(tps)
    times: dict[TopicPartition, int | None] = {}
    if target.time_ms is not None:
        times = await offsets_at(cluster, tps, target.time_ms)
    new = {}
    for tp in tps:
        known = Known(starts[tp], ends[tp], committed.get(tp), times.get(tp))
        new[tp], told = clipped(tp, wanted_offset(target, tp, known), known)
        if told:
            typer.echo(f"warning: {told}", err=True)
    if execute:
        try:
            await admin.commit_offsets(new, Generation(group, -1, ""))
        except CommitRefused as error:
            raise busy(group) from error
    return [(*tp, committed.get(tp), new[tp], starts[tp], ends[tp]) for tp in tps]


def repartitions(group: str, rows: Iterable[Row]) -> list[str]:
    """The repartition topics of an app of this name whose offsets are moved beside others'."""
    moved = dict.fromkeys(row[0] for row in rows if row[2] != row[3])
    ours = [
        name for name in moved if name.startswith(f"{group}-") and name.endswith("-repartition")
    ]
    return ours if len(ours) < len(moved) else []


async def changelogs(cluster: Cluster, group: str) -> list[str]:
    """The changelogs of an app of this name: its tables do not move with its offsets."""
    topics = await Admin(cluster).topics(None)
    return [
        name
        for name in sorted(topics)
        if name.startswith(f"{group}-") and name.endswith("-changelog")
    ]


async def check_idle(admin: Admin, group: str) -> None:
    """Refuse a group that has members: they would commit over what is changed."""
    for listed in await admin.groups():
        if listed.group == group and listed.state not in IDLE:
            raise busy(group)


def busy(group: str) -> FlowstreamError:
    """The error for a group whose members would commit over what is changed."""
    return FlowstreamError(f"group {group!r} has members: stop its workers first, then try again")


async def _partitions(
    cluster: Cluster,
    topics: Iterable[str],
    target: Target,
    committed: Iterable[TopicPartition],
) -> list[TopicPartition]:
    """The partitions that are meant, all of which exist."""
    wanted: dict[str, list[int] | None] = {}
    for text in topics:
        name, colon, numbers = text.partition(":")
        if colon and not all(each.isascii() and each.isdigit() for each in numbers.split(",")):
            raise typer.BadParameter(f"--topic {text}: TOPIC or TOPIC:0,1 is expected")
        wanted[name] = [int(each) for each in numbers.split(",")] if colon else None
    if not wanted or target.file is not None:
        known = sorted(target.file if target.file is not None else committed)
        asked = wanted
        wanted = {}
        for tp in known:
            numbers_of = asked.get(tp.topic)
            if not asked or (
                tp.topic in asked and (numbers_of is None or tp.partition in numbers_of)
            ):
                found = wanted.setdefault(tp.topic, [])
                assert found is not None
                found.append(tp.partition)
    tps = []
    for name, found in wanted.items():
        tps += await partitions_of(cluster, name, found)
    return sorted(tps)


def milliseconds(text: str) -> int:
    """A time as milliseconds since 1970: ISO 8601 (UTC unless it says otherwise), or the number.
    Some that are just before 1970 mean something else to Kafka, -1 the end: they are 0.

    >>> milliseconds("1970-01-01T00:00:01"), milliseconds("1970-01-01T01:00+01:00")
    (1000, 0)
    """
    if text.isascii() and text.isdigit() and len(text) < len(str(2**63)):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time: e.g. 2026-01-31T12:00:00, or milliseconds since 1970"
        ) from None
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    found = round(since * 1000)
    return 0 if LEAST_SPECIAL <= found < 0 else found


def read_plan(path: Path) -> dict[TopicPartition, int]:
    """Lines of `topic,partition,offset`, as Kafka's tool exports them; or what `--json` printed:
    this verb's (its `new` offsets), or that of `groups describe` (the committed ones).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    found = _json_plan(path, text) if text.lstrip()[:1] in ("[", "{") else _csv_plan(path, text)
    if not found:
        raise typer.BadParameter(f"{path} names no partition")
    return found


def _csv_plan(path: Path, text: str) -> dict[TopicPartition, int]:
    found = {}
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row:
            continue
        if len(row) != 3 or not all(each.isascii() and each.isdigit() for each in row[1:]):
            raise typer.BadParameter(
                f"{path}:{number}: topic,partition,offset is expected, or what --json prints"
            )
        found[TopicPartition(row[0], int(row[1]))] = int(row[2])
    return found


def _json_plan(path: Path, text: str) -> dict[TopicPartition, int]:
    try:
        told = json_module.loads(text)
        rows = told["partitions"] if isinstance(told, dict) else told
        column = "committed" if isinstance(told, dict) else "new"
        return {
            TopicPartition(str(row["topic"]), int(row["partition"])): int(row[column])
            for row in rows
            if row[column] is not None
        }
    except (ValueError, TypeError, KeyError) as error:
        raise typer.BadParameter(
            f"{path} is not what `groups reset-offsets --json` or `groups describe --json` prints"
            f" ({type(error).__name__}: {error})"
        ) from error
