"""`flowstream producers`: what the partitions of a topic remember of their producers."""

from __future__ import annotations

from typing import Annotated

import typer

from flowstream.cli.options import (
    Broker,
    Data,
    Json,
    connected,
    partitions_of,
    perform,
    show,
)
from flowstream.processing.values.moments import moment_text
from flowstream.transport.transaction_admin import describe_producers

app = typer.Typer(help="Producers with state in a topic's partitions.", no_args_is_help=True)

COLUMNS = (
    "topic", "partition", "producer_id", "epoch", "last_sequence", "last_time",
    "coordinator_epoch", "open_transaction_from",
)  # fmt: skip


@app.callback()
def noun() -> None:
    """Producers with state in a topic's partitions."""


@app.command()
def describe(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    partition: Annotated[
        list[int] | None, typer.Option("--partition", "-p", min=0, help="Only these partitions.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show each partition's producers: epochs, sequences, open transactions."""

    async def work() -> None:
        async with connected(broker, data) as cluster:
            tps = await partitions_of(cluster, topic, partition)
            found = await describe_producers(cluster, tps)
        rows = [
            (
                tp.topic,
                tp.partition,
                each.producer_id,
                each.producer_epoch,
                each.last_sequence,
                moment_text(each.last_timestamp_ms),
                each.coordinator_epoch,
                each.txn_start if each.txn_start >= 0 else None,
            )
            for tp in tps
            for each in found[tp]
        ]
        show(COLUMNS, rows, as_json=json)

    perform(work)
