"""`flowstream send`: records from arguments, or from lines of standard input, to a topic."""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from flowstream.cli.lines import arriving
from flowstream.cli.options import Broker, Data, Json, connected, pair, perform
from flowstream.clock import wall_ms
from flowstream.errors import FlowstreamError
from flowstream.processing.tables.showing import typed_bytes
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec, codec_of
from flowstream.processing.values.serializers import typed
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import UnknownTopic
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.types import RecordMetadata, TopicPartition

PLAIN: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}
WINDOW = 1000  # records under way


Type = Annotated[str | None, typer.Option(metavar="MODULE:TYPE", help="JSON of this type.")]
Serializer = Annotated[
    str | None, typer.Option(metavar="CODEC", help="JSON, and written by this codec.")
]
Key = Annotated[str | None, typer.Option("--key", "-k", help="The records' key.")]
KeySeparator = Annotated[
    str | None,
    typer.Option("--key-separator", help="Each record is KEY, this text, then the value."),
]
Timestamp = Annotated[
    int | None,
    typer.Option(help="Event time in ms since 1970 (default: now).", min=-(2**63), max=2**63 - 1),
]
Header = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="name=value; may be repeated.")
]
Tombstone = Annotated[
    bool, typer.Option("--tombstone", help="Send --key with no value: delete it.")
]
Repeat = Annotated[int, typer.Option("--repeat", min=1, help="Send all of it so often.")]
Latency = Annotated[
    float, typer.Option(min=0, help="Pause at least so many seconds between two records.")
]
Latest = Annotated[
    float | None, typer.Option(min=0, help="And at most (default: as --min-latency).")
]
Record = tuple[str | None, str | None]


def command(
    topic: Annotated[str, typer.Argument(help="The topic.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(help="One record each; none: every line of standard input is one."),
    ] = None,
    broker: Broker = None,
    data: Data = None,
    key: Key = None,
    key_separator: KeySeparator = None,
    partition: Annotated[int | None, typer.Option("--partition", "-p", min=0)] = None,
    timestamp: Timestamp = None,
    header: Header = None,
    tombstone: Tombstone = False,
    key_type: Type = None,
    key_serializer: Serializer = None,
    value_type: Type = None,
    value_serializer: Serializer = None,
    repeat: Repeat = 1,
    min_latency: Latency = 0.0,
    max_latency: Latest = None,
    as_json: Json = False,
) -> None:
    """Send records; tell where each one went."""
    pauses = (min_latency, min_latency if max_latency is None else max_latency)
    if pauses[0] > pauses[1]:
        raise typer.BadParameter("--min-latency is above --max-latency")
    headers = [(text_only(name), encoded(value)) for name, value in map(pair, header or ())]
    if tombstone and (values or key is None):
        raise typer.BadParameter("--tombstone goes with --key and without values")
    given = once((key, None)) if tombstone else keyed(texts(values), key, key_separator)
    records = given if repeat == 1 else repeated(given, repeat)
    encoders = encoder(key_type, key_serializer), encoder(value_type, value_serializer)
    target = topic if partition is None else TopicPartition(topic, partition)

    async def work() -> None:
        async with connected(broker, data) as cluster:
            await check_topic(cluster, topic)
            producer = IdempotentProducer(cluster)

            async def one(record_key: str | None, value: str | None) -> None:
                raw_key, raw_value = encoders[0](record_key), encoders[1](value)
                stamp = wall_ms() if timestamp is None else timestamp
                sent = await producer.send(target, raw_key, raw_value, stamp, headers)
                print_sent(sent, as_json=as_json)

            await send_all(records, one, pauses)
            await producer.close()

    perform(work)


async def check_topic(cluster: Cluster, topic: str) -> None:
    """UnknownTopic, with the remedy, when there is no such topic."""
    try:
        await cluster.partitions(topic)
    except UnknownTopic:
        raise UnknownTopic(
            f"there is no topic {topic!r}: `flowstream topics create {topic}` makes it, as does a"
            " worker of the app that declares it"
        ) from None


async def send_all(
    records: AsyncIterator[list[Record]],
    one: Callable[[str | None, str | None], Coroutine[Any, Any, None]],
    pauses: tuple[float, float],
) -> None:
    """Send records side by side as they come, or one by one with pauses."""
    size = 1 if pauses[1] else WINDOW
    async for there in records:
        for first in range(0, len(there), size):
            if pauses[1]:
                await asyncio.sleep(random.uniform(*pauses))
            async with asyncio.TaskGroup() as group:
                for record in there[first : first + size]:
                    group.create_task(one(*record))


def encoder(kind: str | None, serializer: str | None) -> Callable[[str | None], bytes | None]:
    """How a text becomes bytes: as it is, or read as JSON and written as a type and a codec say."""
    if kind is None and serializer is None:
        return encoded
    try:
        type_ = Any if kind is None else type_named(kind)
        reads: Codec[Any] = codec_of(type_)
        codec = typed(type_, serializer)
    except FlowstreamError as error:
        raise typer.BadParameter(str(error)) from None

    def encode(text: str | None) -> bytes | None:
        if text is None:
            return None
        try:
            return codec.encode(reads.decode(typed_bytes(text)))
        except DECODE_ERRORS as error:
            raise typer.BadParameter(f"{text!r}: {error}") from None

    return encode


def type_named(name: str) -> Any:
    """The class of `module:Name`, or of one of the plain types, `int`."""
    module, _, attribute = name.partition(":")
    if not attribute:
        if name not in PLAIN:
            raise typer.BadParameter(f"{name!r} is not MODULE:TYPE, nor {', '.join(PLAIN)}")
        return PLAIN[name]
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise typer.BadParameter(f"{name!r}: {error}") from None


def text_only(name: str) -> str:
    """A header's name; BadParameter for one that is not UTF-8, as it has to be."""
    if typed_bytes(name) != name.encode("utf-8", "replace"):
        raise typer.BadParameter(f"the name of header {name!r} is not UTF-8")
    return name


def encoded(text: str | None) -> bytes | None:
    """Text as bytes."""
    return None if text is None else typed_bytes(text)


async def texts(values: list[str] | None) -> AsyncIterator[list[str]]:
    """The values given, or the lines of standard input, those that are there together."""
    if values:
        yield values
        return
    async for lines in arriving(sys.stdin):
        yield lines


async def once(record: Record) -> AsyncIterator[list[Record]]:
    """One record."""
    yield [record]


async def repeated(records: AsyncIterator[list[Record]], times: int) -> AsyncIterator[list[Record]]:
    """All of it so often."""
    whole = [record async for some in records for record in some]
    for _ in range(times):
        yield whole


async def keyed(
    values: AsyncIterator[list[str]], key: str | None, separator: str | None
) -> AsyncIterator[list[Record]]:
    """(key, value) of each record."""
    async for some in values:
        yield [(key, text) if separator is None else parted(text, separator) for text in some]


def parted(text: str, separator: str) -> Record:
    """Key and value of a line."""
    key, mark, value = text.partition(separator)
    if not mark:
        raise typer.BadParameter(f"{text!r} has no {separator!r} after its key")
    return key, value


def print_sent(sent: RecordMetadata, *, as_json: bool) -> None:
    """Where a record went."""
    if as_json:
        typer.echo(json.dumps(sent._asdict()))
    else:
        typer.echo(f"{sent.topic}-{sent.partition}@{sent.offset}")
