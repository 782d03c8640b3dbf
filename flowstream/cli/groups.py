"""`flowstream groups`: list consumer groups, describe one with its lag per partition, delete groups
and offsets.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import typer

from flowstream.cli import reset_offsets
from flowstream.cli.options import Broker, Data, Json, connected, perform, show
from flowstream.errors import FlowstreamError
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer_groups import describe_consumer_group
from flowstream.transport.errors import OffsetOutOfRange, RequestRefused
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import GroupDescription, TopicPartition
from flowstream.wire.error_codes import ErrorCode

app = typer.Typer(
    help="List, describe and delete groups, and move their offsets.", no_args_is_help=True
)

COLUMNS = ("topic", "partition", "committed", "end", "lag", "member", "host")
NEAR = 100
LagRow = tuple[str, int, int | None, int, int | None, str | None, str | None]


_CLASSIC = ("PreparingRebalance", "CompletingRebalance", "Dead")
STATES = ("Empty", "Stable", *_CLASSIC, "Assigning", "Reconciling")
TYPES = ("classic", "consumer", "share", "streams")


@app.command("list")
def list_groups(
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only in these states, e.g. Empty; may be repeated."),
    ] = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="Only classic ones, or of type consumer (KIP-848)."),
    ] = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the groups."""
    states, types = one_of(STATES, "state", state), one_of(TYPES, "type", type_)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            groups = await Admin(cluster).groups(states, types)
        rows = sorted((g.group, g.state, g.type, g.protocol_type) for g in groups)
        show(("group", "state", "type", "protocol_type"), rows, as_json=json)

    perform(work)


def one_of(known: Sequence[str], noun: str, given: Sequence[str] | None) -> list[str]:
    """The given words as the cluster writes them. A word that it does not have would list nothing.

    >>> one_of(STATES, "state", ["empty"])
    ['Empty']
    """
    words = {each.lower(): each for each in known}
    for each in given or ():
        if each.lower() not in words:
            raise typer.BadParameter(f"{each!r} is no {noun}: use one of {', '.join(known)}")
    return [words[each.lower()] for each in given or ()]


@app.command()
def describe(
    group: Annotated[str, typer.Argument(help="The group: an app's id.")],
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show who owns which partition, what is committed, and how far behind it is."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            admin = Admin(cluster)
            found, committed = await must_be_known(cluster, group)
            owned = {tp for member in found.members for tp in member.partitions}
            tps = sorted({*committed, *owned})
            ends = await admin.end_offsets(tps, committed=True)
            untouched = await admin.beginning_offsets(tp for tp in tps if tp not in committed)
            reached = {
                tp: await skip_markers(cluster, tp, offset, ends[tp])
                for tp, offset in {**untouched, **committed}.items()
            }
        print_description(found, lag(found, tps, committed, ends, reached), as_json=json)

    perform(work)


@app.command()
def delete(
    groups: Annotated[list[str], typer.Argument(help="The groups; none may have members.")],
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Delete groups with their offsets."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            for group in groups:
                try:
                    await Admin(cluster).delete_group(group)
                except RequestRefused as error:
                    raise refusal(error, group) from error
                typer.echo(f"deleted {group}")

    perform(work)


@app.command("delete-offsets")
def delete_offsets(
    group: Annotated[str, typer.Argument(help="The group: an app's id.")],
    topic: Annotated[str, typer.Option("--topic", help="Of this topic, which nobody reads.")],
    partition: Annotated[
        list[int] | None, typer.Option("--partition", "-p", min=0, help="Only these partitions.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Forget a group's offsets of one topic."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            admin = Admin(cluster)
            known = await admin.group_offsets(group)
            tps = [
                tp
                for tp in sorted(known)
                if tp.topic == topic and (partition is None or tp.partition in partition)
            ]
            if not tps:
                raise FlowstreamError(
                    f"group {group!r} has no such offsets of {topic!r}:"
                    f" see `flowstream groups describe {group}`"
                )
            try:
                await admin.delete_offsets(group, tps)
            except RequestRefused as error:
                raise refusal(error, group) from error
        typer.echo(f"{group} has no offsets of {len(tps)} partitions of {topic} any more")

    perform(work)


app.command("reset-offsets")(reset_offsets.command)


def refusal(error: RequestRefused, group: str) -> FlowstreamError:
    """What a broker's refusal means for the one who asked, with the remedy."""
    if error.code in (ErrorCode.NON_EMPTY_GROUP, ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC):
        return reset_offsets.busy(group)
    if error.code == ErrorCode.GROUP_ID_NOT_FOUND:
        return FlowstreamError(f"there is no group {group!r}: see `flowstream groups list`")
    return error


async def must_be_known(
    cluster: Cluster, group: str
) -> tuple[GroupDescription, dict[TopicPartition, int]]:
    """A group as it is, with its offsets. FlowstreamError when nobody was ever in it."""
    admin = Admin(cluster)
    found = await admin.group(group)
    if found.state == "Dead":  # to the questions of classic groups one of KIP-848 is that
        found = await describe_consumer_group(cluster, group) or found
    committed = await admin.group_offsets(group)
    if found.state == "Dead" and not committed:
        raise FlowstreamError(f"there is no group {group!r}: see `flowstream groups list`")
    return found, committed


async def skip_markers(cluster: Cluster, tp: TopicPartition, offset: int, end: int) -> int:
    """The first offset from `offset` on that holds a record, else `end`: transaction markers are no
    lag. Far behind, a marker more or less does not matter.
    """
    if not 0 < end - offset <= NEAR:
        return offset
    reader = PartitionReader(cluster, tp, offset)
    try:
        records = await reader.read(0)
    except OffsetOutOfRange:
        return offset
    return records[0].offset if records else min(reader.position, end)


def lag(
    group: GroupDescription,
    tps: Iterable[TopicPartition],
    committed: Mapping[TopicPartition, int | None],
    ends: Mapping[TopicPartition, int],
    reached: Mapping[TopicPartition, int],
) -> list[LagRow]:
    """One row per partition. Without a committed offset `reached` is where an app would begin: all
    that the partition holds is still to be read.
    """
    owners = {tp: member for member in group.members for tp in member.partitions}
    rows: list[LagRow] = []
    for tp in tps:
        offset, owner = committed.get(tp), owners.get(tp)
        behind = max(0, ends[tp] - reached[tp]) if tp in reached else None
        name = None if owner is None else owner.instance_id or owner.member_id
        host = None if owner is None else owner.client_host
        rows.append((tp.topic, tp.partition, offset, ends[tp], behind, name, host))
    return rows


def print_description(group: GroupDescription, rows: list[LagRow], *, as_json: bool) -> None:
    """A group: its state, members and lag."""
    total = sum(row[4] or 0 for row in rows)
    if as_json:
        found = {
            "group": group.group,
            "state": group.state,
            "protocol": group.protocol,
            "members": len(group.members),
            "lag": total,
            "partitions": [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        }
        typer.echo(json.dumps(found, indent=2))
        return
    members = f"{len(group.members)} member{'s' * (len(group.members) != 1)}"
    typer.echo(f"{group.group}  {group.state}  {members}  lag {total}")
    show(COLUMNS, rows)
