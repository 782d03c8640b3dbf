"""`flowstream send`: records from arguments, or from lines of standard input, to a topic."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated

import typer

from flowstream.cli.options import Broker, Data, Json, connected, pair, perform
from flowstream.clock import wall_ms
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.types import RecordMetadata, TopicPartition

WINDOW = 1000  # records under way when lines come from a pipe


def command(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(help="One record each; none: every line of standard input is one."),
    ] = None,
    broker: Broker = None,
    data: Data = None,
    key: Annotated[str | None, typer.Option("--key", "-k", help="The records' key.")] = None,
    key_separator: Annotated[
        str | None,
        typer.Option("--key-separator", help="Each record is KEY, this text, then the value."),
    ] = None,
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0)] = None,
    timestamp: Annotated[
        int | None, typer.Option(help="Event time in ms since 1970 (default: now).")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="name=value; may be repeated.")
    ] = None,
    tombstone: Annotated[
        bool, typer.Option("--tombstone", help="Send --key with no value: delete it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send records; tell where each one went."""
    headers = [(name, value.encode()) for name, value in map(pair, header or ())]
    if tombstone and (values or key is None):
        raise typer.BadParameter("--tombstone goes with --key and without values")
    records: Iterable[tuple[str | None, str | None]] = (
        [(key, None)] if tombstone else keyed(texts(values), key, key_separator)
    )

    stamp = wall_ms() if timestamp is None else timestamp

    async def work() -> None:
        async with connected(broker, data) as cluster:
            producer = IdempotentProducer(cluster)
            target = topic if partition is None else TopicPartition(topic, partition)

            async def one(record_key: str | None, value: str | None) -> None:
                raw_key, raw_value = encoded(record_key), encoded(value)
                sent = await producer.send(target, raw_key, raw_value, stamp, headers)
                print_sent(sent, as_json=as_json)

            for some in batched(records, WINDOW):
                async with asyncio.TaskGroup() as group:
                    for record in some:
                        group.create_task(one(*record))
            await producer.close()

    perform(work)


def batched(
    records: Iterable[tuple[str | None, str | None]], size: int
) -> Iterator[list[tuple[str | None, str | None]]]:
    """Lists of `size` records; the first has only one, so that a terminal is answered at once."""
    source = iter(records)
    some = list(islice(source, 1))
    while some:
        yield some
        some = list(islice(source, size if not sys.stdin.isatty() else 1))


def encoded(text: str | None) -> bytes | None:
    """Text as bytes."""
    return None if text is None else text.encode()


def texts(values: list[str] | None) -> Iterator[str]:
    """The values given, or the lines of standard input."""
    if values:
        yield from values
    else:
        for line in sys.stdin:
            yield line.rstrip("\r\n")


def keyed(
    values: Iterable[str], key: str | None, separator: str | None
) -> Iterator[tuple[str | None, str | None]]:
    """(key, value) of each record."""
    for text in values:
        if separator is None:
            yield key, text
            continue
        found, mark, value = text.partition(separator)
        if not mark:
            raise typer.BadParameter(f"{text!r} has no {separator!r} after its key")
        yield found, value


def print_sent(sent: RecordMetadata, *, as_json: bool) -> None:
    """Where a record went."""
    if as_json:
        typer.echo(json.dumps(sent._asdict()))
    else:
        typer.echo(f"{sent.topic}-{sent.partition}@{sent.offset}")
