"""Microseconds to encode and decode the common messages, beside kio and kafka-python.

Run `python benchmarks/wire.py`. Times are of the process, the best of several alternating rounds.
"""

from __future__ import annotations

import importlib
import io
import time
import warnings
from collections.abc import Callable
from typing import Any

from kio.serial import entity_reader, entity_writer

from flowstream.wire.api import request_class, response_class
from flowstream.wire.messages import end_txn, fetch, metadata, produce
from flowstream.wire.schema import decode, encode

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.protocol.api_message import ApiMessage

ROUNDS = 7
BUDGET_S = 0.05
RECORDS = bytes(1000)
TOPIC_ID = bytes(range(16))


def named(version: int, name: str, first_with_id: int) -> dict[str, Any]:
    return {"topic_id": TOPIC_ID} if version >= first_with_id else {name: "transactions"}


def produce_pair(version: int) -> tuple[Any, Any]:
    topic = named(version, "name", 13)
    data = produce.PartitionProduceData(index=3, records=RECORDS)
    answer = produce.PartitionProduceResponse(index=3, base_offset=123456, log_start_offset=0)
    return (
        produce.ProduceRequest(
            acks=-1,
            timeout_ms=30000,
            topic_data=(produce.TopicProduceData(partition_data=(data,), **topic),),
        ),
        produce.ProduceResponse(
            responses=(produce.TopicProduceResponse(partition_responses=(answer,), **topic),)
        ),
    )


def fetch_pair(version: int) -> tuple[Any, Any]:
    topic = named(version, "topic", 13)
    asked = fetch.FetchPartition(partition=3, fetch_offset=1234, partition_max_bytes=1 << 20)
    answer = fetch.PartitionData(
        partition_index=3,
        high_watermark=9000,
        last_stable_offset=9000,
        log_start_offset=0,
        aborted_transactions=(),
        records=RECORDS,
    )
    return (
        fetch.FetchRequest(
            max_wait_ms=500,
            min_bytes=1,
            isolation_level=1,
            topics=(fetch.FetchTopic(partitions=(asked,), **topic),),
        ),
        fetch.FetchResponse(
            responses=(fetch.FetchableTopicResponse(partitions=(answer,), **topic),)
        ),
    )


def metadata_pair(version: int) -> tuple[Any, Any]:
    partitions = tuple(
        metadata.MetadataResponsePartition(
            partition_index=index, leader_id=1, replica_nodes=(1,), isr_nodes=(1,)
        )
        for index in range(8)
    )
    broker = metadata.MetadataResponseBroker(node_id=1, host="127.0.0.1", port=9092)
    topic = metadata.MetadataResponseTopic(name="transactions", partitions=partitions)
    return (
        metadata.MetadataRequest(topics=(metadata.MetadataRequestTopic(name="transactions"),)),
        metadata.MetadataResponse(brokers=(broker,), controller_id=1, topics=(topic,)),
    )


def end_txn_pair(version: int) -> tuple[Any, Any]:
    request = end_txn.EndTxnRequest(transactional_id="app-0", producer_id=7, committed=True)
    known = {"producer_id": 7, "producer_epoch": 2} if version >= 5 else {}
    return request, end_txn.EndTxnResponse(**known)


CASES = [
    (0, "produce", (8, 13), produce_pair),
    (1, "fetch", (11, 17), fetch_pair),
    (3, "metadata", (5, 13), metadata_pair),
    (26, "end_txn", (1, 5), end_txn_pair),
]


def kio_calls(path: str, name: str, raw: bytes) -> tuple[Callable[[], Any], Callable[[], Any]]:
    cls = getattr(importlib.import_module(f"kio.schema.{path}"), name)
    read, write = entity_reader(cls), entity_writer(cls)
    value, _ = read(raw, 0)
    return lambda: write(io.BytesIO(), value), lambda: read(raw, 0)


def kafka_python_calls(
    name: str, version: int, raw: bytes
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        cls = type(ApiMessage)(name, (ApiMessage,), {"__module__": __name__})
    value = cls.decode(raw, version=version)
    value._header = None
    return lambda: value.encode(version=version), lambda: cls.decode(raw, version=version)


def timed(call: Callable[[], Any], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count * 1e6


def best(calls: list[Callable[[], Any]]) -> list[float]:
    """The best time of each call, in microseconds; the rounds alternate between them."""
    counts = [max(1, int(BUDGET_S * 1e6 / max(0.1, timed(call, 20)))) for call in calls]
    times = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for index, call in enumerate(calls):
            times[index] = min(times[index], timed(call, counts[index]))
    return times


def main() -> None:
    print(f"{'message':28s}{'':8s}{'ours':>8s}{'kio':>10s}{'':8s}{'kafka-python':>14s}")
    for key, path, versions, pair in CASES:
        for version in versions:
            values = pair(version)
            for kind, value in zip(("request", "response"), values, strict=True):
                cls = request_class(key) if kind == "request" else response_class(key)
                raw = encode(value, version)
                kio = kio_calls(f"{path}.v{version}.{kind}", cls.__name__, raw)
                other = kafka_python_calls(cls.__name__, version, raw)
                ours = (
                    lambda value=value, version=version: encode(value, version),
                    lambda cls=cls, raw=raw, version=version: decode(cls, raw, version),
                )
                for verb, calls in zip(
                    ("encode", "decode"), zip(ours, kio, other, strict=True), strict=True
                ):
                    us, kio_us, other_us = best(list(calls))
                    print(
                        f"{f'{cls.__name__} v{version}':28s}{verb:8s}{us:8.2f}"
                        f"{kio_us:10.2f} {kio_us / us:5.1f}x {other_us:14.2f} {other_us / us:5.1f}x"
                    )


if __name__ == "__main__":
    main()
