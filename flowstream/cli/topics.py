"""`flowstream topics`: list, create, delete, describe and alter the topics of a cluster."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Annotated

import typer

from flowstream.cli.options import (
    Broker,
    Data,
    Json,
    connected,
    pairs,
    partitions_of,
    perform,
    show,
    topics_of,
)
from flowstream.errors import FlowstreamError
from flowstream.transport.admin import Admin
from flowstream.transport.partitions import create_partitions, delete_records
from flowstream.transport.types import NewTopic, TopicDescription, TopicPartition

app = typer.Typer(help="List, create, delete, describe and alter topics.", no_args_is_help=True)

INT16_MAX, INT32_MAX = 2**15 - 1, 2**31 - 1
Name = Annotated[str, typer.Argument(help="The topic.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only ask if it is allowed.")]
Names = Annotated[list[str], typer.Argument(help="The topics.")]


@app.command("list")
def list_topics(
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
    internal: Annotated[bool, typer.Option("--internal", help="Kafka's own topics too.")] = False,
) -> None:
    """List the topics."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            found = await Admin(cluster).topics(None)
        topics = [t for _, t in sorted(found.items()) if internal or not t.internal]
        show(("topic", "partitions"), [(t.name, t.partitions) for t in topics], as_json=json)

    perform(work)


@app.command()
def create(
    name: Name,
    broker: Broker = None,
    data: Data = None,
    partitions: Annotated[int, typer.Option("--partitions", "-p", min=1, max=INT32_MAX)] = 1,
    replication: Annotated[
        int, typer.Option(help="-1 is the broker's default.", min=-1, max=INT16_MAX)
    ] = -1,
    config: Annotated[
        list[str] | None, typer.Option("--config", "-c", help="key=value, Kafka's names.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Create a topic."""
    configs = pairs(config)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            wanted = NewTopic(name, partitions, replication, configs)
            await Admin(cluster).create_topics([wanted], validate_only=dry_run)
        what = f"{name} with {partitions} partition{'s' * (partitions != 1)}"
        typer.echo(f"{what}: is allowed" if dry_run else f"created {what}")

    perform(work)


@app.command()
def delete(names: Names, broker: Broker = None, data: Data = None) -> None:
    """Delete topics with all their records."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            await Admin(cluster).delete_topics(names)
        typer.echo(f"deleted {', '.join(names)}")

    perform(work)


@app.command()
def describe(name: Name, broker: Broker = None, data: Data = None, json: Json = False) -> None:
    """Show a topic's partitions with their offsets, and its settings."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            admin = Admin(cluster)
            found = (await topics_of(cluster, [name], configs=True))[name]
            tps = [TopicPartition(name, number) for number in range(found.partitions)]
            starts = await admin.beginning_offsets(tps)
            ends = await admin.end_offsets(tps)
        rows = [(tp.partition, starts[tp], ends[tp]) for tp in tps]
        print_description(found, rows, as_json=json)

    perform(work)


@app.command()
def alter(
    name: Name,
    partitions: Annotated[
        int, typer.Option("--partitions", "-p", min=1, max=INT32_MAX, help="In all, then.")
    ],
    broker: Broker = None,
    data: Data = None,
    dry_run: DryRun = False,
) -> None:
    """Give a topic more partitions. Keys move: an app with tables refuses to read it then."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            await create_partitions(cluster, name, partitions, validate_only=dry_run)
        if dry_run:
            typer.echo(f"{name} with {partitions} partitions: is allowed")
        else:
            typer.echo(f"{name} has {partitions} partitions now")

    perform(work)


@app.command("delete-records")
def delete_records_command(
    name: Name,
    before: Annotated[
        str, typer.Option("--before", metavar="OFFSET|latest", help="Records below it go.")
    ],
    partition: Annotated[
        list[int] | None, typer.Option("--partition", "-p", min=0, help="Only these partitions.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Delete the oldest records for good: the log starts later then."""
    if before != "latest" and not (before.isascii() and before.isdigit()):
        raise typer.BadParameter(f"--before {before}: an offset, or latest for all records")
    offset = -1 if before == "latest" else int(before)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            tps = await partitions_of(cluster, name, partition)
            check_reach(offset, await Admin(cluster).end_offsets(tps))
            starts = await delete_records(cluster, dict.fromkeys(tps, offset))
        rows = [(tp.topic, tp.partition, start) for tp, start in starts.items()]
        show(("topic", "partition", "start"), rows, as_json=json)

    perform(work)


def check_reach(offset: int, ends: Mapping[TopicPartition, int]) -> None:
    """Refuse an offset beyond the end of a partition, before anything is deleted anywhere."""
    short = [f"{tp.topic}-{tp.partition} ends at {end}" for tp, end in ends.items() if offset > end]
    if short:
        raise FlowstreamError(
            f"--before {offset} is beyond what there is ({', '.join(short)}): nothing was deleted;"
            " say --before latest to delete all records, or choose partitions with -p"
        )


def print_description(
    topic: TopicDescription, rows: list[tuple[int, int, int]], *, as_json: bool
) -> None:
    """One topic with the (partition, start, end) of its partitions."""
    configs = dict(topic.configs or {})
    if as_json:
        columns = ("partition", "start", "end")
        found = {
            "topic": topic.name,
            "topic_id": uuid_text(topic.topic_id),
            "partitions": [dict(zip(columns, row, strict=True)) for row in rows],
            "configs": configs,
        }
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(f"{topic.name}  id {uuid_text(topic.topic_id)}")
    show(("partition", "start", "end"), rows)
    if configs:
        show(("setting", "value"), sorted(configs.items()))


def uuid_text(topic_id: bytes) -> str:
    """A topic id as Kafka's tools print it."""
    return base64.urlsafe_b64encode(topic_id).decode("ascii").rstrip("=")
