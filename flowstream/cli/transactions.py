"""`flowstream transactions`: which are open, whose they are, and ending those that nobody ends."""

from __future__ import annotations

import json as json_module
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, perform, show, topics_of
from flowstream.clock import wall_ms
from flowstream.errors import FlowstreamError
from flowstream.processing.values.moments import moment_text
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.transaction_admin import (
    Described,
    abort_partition,
    describe_producers,
    describe_transaction,
    fence,
    find_hanging,
    list_transactions,
)
from flowstream.transport.types import TopicPartition

app = typer.Typer(help="Transactions: list, describe, abort.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The transactional id.")]
HANGING_AFTER_MIN = 20
"""Kafka's bound on a transaction's timeout (15 minutes), and some for the coordinator."""


@app.command("list")
def list_ids(
    state: Annotated[
        list[str] | None, typer.Option(help="Only these states, e.g. Ongoing; may be repeated.")
    ] = None,
    producer_id: Annotated[
        list[int] | None, typer.Option("--producer-id", min=0, max=2**63 - 1)
    ] = None,
    longer_than: Annotated[
        float | None,
        typer.Option(
            "--longer-than", help="Only those open for so many seconds.", min=0, max=10**9
        ),
    ] = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the transactional ids with their states."""
    duration = -1 if longer_than is None else int(longer_than * 1000)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            found = await list_transactions(
                cluster,
                states=state or (),
                producer_ids=producer_id or (),
                longer_than_ms=duration,
            )
        show(("transactional_id", "producer_id", "state", "coordinator"), found, as_json=json)

    perform(work)


@app.command()
def describe(id: Id, broker: Broker = None, data: Data = None, json: Json = False) -> None:
    """Show one transactional id with its transaction."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            found = await describe_transaction(cluster, id)
        print_description(found, wall_ms(), as_json=json)

    perform(work)


@app.command()
def abort(
    id: Annotated[str | None, typer.Argument(help="The transactional id.")] = None,
    topic: Annotated[str | None, typer.Option(help="Of a hanging one: the topic,")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="the partition,")] = None,
    start_offset: Annotated[
        int | None, typer.Option("--start-offset", min=0, help="and where it begins there.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
) -> None:
    """Abort a transaction and fence its producer; or a hanging one in a partition."""
    place = [each is not None for each in (topic, partition, start_offset)]
    if any(place) if id is not None else not all(place):
        raise typer.BadParameter(
            "give the transactional id alone, or all of --topic, --partition and --start-offset as"
            " `flowstream transactions find-hanging` tells them"
        )

    async def work() -> None:
        async with connected(broker, data) as cluster:
            if id is not None:
                await describe_transaction(cluster, id)  # an unknown id must not come into being
                await fence(cluster, id)
                typer.echo(f"the transaction of {id} is aborted and its producer fenced")
                return
            assert topic is not None
            assert partition is not None
            assert start_offset is not None
            await abort_hanging(cluster, TopicPartition(topic, partition), start_offset)
            typer.echo(f"aborted in {topic}-{partition} from offset {start_offset} on")

    perform(work)


@app.command("find-hanging")
def find(
    topic: Annotated[
        list[str] | None, typer.Option(help="Look here only; may be repeated.")
    ] = None,
    older_than: Annotated[
        int, typer.Option("--older-than", min=0, help="Minutes without a record.")
    ] = HANGING_AFTER_MIN,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Find open transactions that no coordinator will end: they hold up read_committed readers."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            admin = Admin(cluster)
            topics = await (topics_of(cluster, topic) if topic else admin.topics(None))
            tps = [
                TopicPartition(name, number)
                for name, found in sorted(topics.items())
                for number in range(found.partitions)
            ]
            now = wall_ms()
            open_ones = await find_hanging(cluster, tps, older_than * 60_000, now)
        rows = [
            (
                each.tp.topic,
                each.tp.partition,
                each.producer.producer_id,
                each.producer.producer_epoch,
                each.producer.txn_start,
                (now - each.producer.last_timestamp_ms) // 60_000,
            )
            for each in open_ones
        ]
        columns = ("topic", "partition", "producer_id", "epoch", "start_offset", "minutes")
        show(columns, rows, as_json=json)

    perform(work)


async def abort_hanging(cluster: Cluster, tp: TopicPartition, start_offset: int) -> None:
    """Abort the transaction that begins at an offset of a partition."""
    for producer in (await describe_producers(cluster, [tp]))[tp]:
        if producer.txn_start == start_offset:
            epochs = (producer.producer_epoch, producer.coordinator_epoch)
            await abort_partition(cluster, tp, producer.producer_id, *epochs)
            return
    raise FlowstreamError(
        f"{tp.topic}-{tp.partition} has no open transaction that begins at offset {start_offset}:"
        f" `flowstream producers describe {tp.topic}` has all"
    )


def print_description(found: Described, now: int, *, as_json: bool) -> None:
    """A transactional id: its producer, state, age and partitions."""
    age = now - found.start_ms if found.start_ms >= 0 and found.partitions else None
    partitions = [f"{tp.topic}-{tp.partition}" for tp in found.partitions]
    shown: dict[str, object] = {
        "transactional_id": found.transactional_id,
        "state": found.state,
        "producer_id": found.producer_id,
        "producer_epoch": found.producer_epoch,
        "timeout_ms": found.timeout_ms,
        "started": moment_text(found.start_ms),
        "age_ms": age,
    }
    if as_json:
        typer.echo(json_module.dumps({**shown, "partitions": partitions}, indent=2))
        return
    shown["partitions"] = ", ".join(partitions) or None
    show(("field", "value"), shown.items())
