"""The door for those who watch: what it tells, what it refuses, and that it costs the others
nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flowstream.broker.server import metrics_door, watching
from flowstream.broker.server.counters import BUCKETS, Counters, Durations, bucket_of
from flowstream.broker.server.listener import bind
from flowstream.broker.server.metrics_door import HEAD_BYTES, VISITORS, MetricsDoor, open_metrics
from flowstream.errors import StorageError
from flowstream.wire.batch import encode_batch
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from tests.broker.server.serving import (
    VERSIONS,
    RawClient,
    Served,
    create_topic,
    fetch_request,
    produce_request,
    served,
    until,
)

PRODUCE, FETCH, API_VERSIONS = 0, 1, 18
ROOT = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def watched(*, fsync: bool = True) -> AsyncIterator[tuple[Served, MetricsDoor]]:
    counters = Counters()
    async with served(fsync=fsync, counters=counters) as broker:
        door = await open_metrics(broker.driver, counters, bind("127.0.0.1", 0))
        try:
            yield broker, door
        finally:
            await door.close()


async def client_of(broker: Served) -> RawClient:
    """A client, with a topic to write to."""
    client = await broker.client()
    await create_topic(client)
    return client


async def visit(door: MetricsDoor, request: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to raw bytes; status 0 when there is none."""
    host, _, port = door.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    await closed(writer)
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, body


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


async def get(door: MetricsDoor, path: str) -> tuple[int, bytes]:
    return await visit(door, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def scraped(door: MetricsDoor) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, label values) -> number, as Prometheus reads the answer."""
    status, body = await get(door, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


async def test_a_scrape_tells_what_was_done() -> None:
    async with watched() as (broker, door):
        client = await client_of(broker)
        await client.ask(API_VERSIONS, 3, VERSIONS)
        for _ in range(3):
            await client.ask(PRODUCE, 8, produce_request(b"value"))
        found = await scraped(door)
        produce = ("Produce",)
        assert found["kafka_network_requestmetrics_requests_total", produce] == 3
        assert found["kafka_network_requestmetrics_requests_total", ("ApiVersions",)] == 1
        assert found["kafka_network_requestmetrics_totaltime_seconds_count", produce] == 3
        assert found["kafka_server_brokertopicmetrics_messagesin_total", ()] == 3
        assert found["kafka_log_log_logendoffset", ("0", "t")] == 3
        assert found["kafka_cluster_partition_highwatermark", ("0", "t")] == 3
        assert found["kafka_server_socket_server_metrics_connection_count", ()] == 1
        assert found["kafka_log_logflushstats_logflush_seconds_count", ()] >= 3
        assert found["flowstream_broker_healthy", ()] == 1
        received = found["kafka_server_socket_server_metrics_incoming_byte_total", ()]
        requests = found["kafka_network_requestmetrics_requestbytes_total", produce]
        assert 0 < requests < received
        await client.close()
        assert (await scraped(door))["kafka_server_brokertopicmetrics_messagesin_total", ()] == 3


async def test_bytes_are_told_by_topic_and_a_parked_reader_counts_once() -> None:
    into, out = (f"kafka_server_brokertopicmetrics_bytes{way}_total" for way in ("in", "out"))
    async with watched() as (broker, door):
        client, reader = await client_of(broker), await broker.client()
        first = encode_batch([(0, None, b"x" * 1000, ())])
        await client.ask(PRODUCE, 8, produce_request(batch=first))
        found = await scraped(door)
        assert (found[into, ("t",)], found[out, ("t",)]) == (len(first), 0)
        refused = bytearray(first)
        refused[-1] ^= 1
        answer = await client.ask(PRODUCE, 8, produce_request(batch=bytes(refused)))
        assert answer.responses[0].partition_responses[0].error_code != 0
        reader.send(FETCH, 11, fetch_request(0, min_bytes=2 * len(first), wait_ms=60_000))
        await until(lambda: broker.driver.cores.waiting._parked == 1)
        await client.ask(PRODUCE, 8, produce_request(batch=first))
        assert len((await reader.receive())[1].responses[0].partitions[0].records) > len(first)
        found = await scraped(door)
        assert (found[into, ("t",)], found[out, ("t",)]) == (2 * len(first), 2 * len(first))
        await client.close()
        await reader.close()


async def test_X3_topics_shown_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "TOPICS_SHOWN", 1)
    async with watched() as (broker, door):
        client = await client_of(broker)
        assert (await scraped(door))["flowstream_broker_topics_not_shown", ()] == 0
        await create_topic(client, "u")
        found = await scraped(door)
        assert found["flowstream_broker_topics_not_shown", ()] == 1
        shown = [key for key in found if key[0] == "kafka_server_brokertopicmetrics_bytesin_total"]
        assert len(shown) == 1
        await client.close()


async def test_who_is_made_to_wait_is_counted() -> None:
    async with watched() as (broker, door):
        client = await client_of(broker)
        await limit(client, "producer_byte_rate", 1000.0)
        assert (await scraped(door))["flowstream_broker_throttled_requests_total", ()] == 0
        told = await client.ask(PRODUCE, 8, produce_request(b"x" * 60_000))
        found = await scraped(door)
        assert found["flowstream_broker_throttled_requests_total", ()] == 1
        seconds = found["flowstream_broker_throttle_seconds_total", ()]
        assert seconds == told.throttle_time_ms / 1000 > 40
        await client.close()


async def limit(client: RawClient, quota: str, value: float) -> None:
    """Set a quota of every client."""
    entity = (EntityData(entity_type="client-id", entity_name=None),)
    entry = EntryData(entity=entity, ops=(OpData(key=quota, value=value),))
    answer = await client.ask(49, 1, AlterClientQuotasRequest(entries=(entry,)))
    assert answer.entries[0].error_code == 0


async def test_V2_what_failed_is_told_as_dashboards_of_kafka_expect_it() -> None:
    controller = "kafka_controller_kafkacontroller_"
    async with watched() as (broker, door):
        client = await client_of(broker)
        found = await scraped(door)
        assert found["kafka_server_replicamanager_underreplicatedpartitions", ()] == 0
        assert found[f"{controller}offlinepartitionscount", ()] == 0
        assert found[f"{controller}activecontrollercount", ()] == 1
        broker.driver.fail(StorageError("t-0/1.log: the disk failed"))
        found = await scraped(door)
        assert found[f"{controller}offlinepartitionscount", ()] == 1
        assert found["kafka_log_logmanager_offlinelogdirectorycount", ()] == 1
        assert found[f"{controller}activecontrollercount", ()] == 0
        await client.close()


async def test_V2_health_is_red_when_the_node_stopped() -> None:
    async with watched() as (broker, door):
        assert await get(door, "/health") == (200, b'{"status": "ok", "reasons": []}\n')
        broker.driver.fail(StorageError("t-0/1.log: the disk failed"))
        status, body = await get(door, "/health")
        assert (status, json.loads(body)["status"]) == (503, "failing")
        assert json.loads(body)["reasons"] == ["stopped: t-0/1.log: the disk failed"]
        assert (await scraped(door))["flowstream_broker_failed", ()] == 1


async def test_V2_health_is_red_when_a_sync_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched() as (broker, door):
        client = await client_of(broker)
        await until(lambda: broker.driver.sync_since is None)
        released = threading.Event()
        monkeypatch.setattr(broker.storage, "sync", lambda paths: released.wait())
        client.send(PRODUCE, 8, produce_request(b"value"))
        await until(lambda: broker.driver.sync_since is not None)
        since = broker.driver.sync_since
        assert since is not None
        late = since + int(watching.SYNC_PATIENCE_S * 1e9) + 2_000_000_000
        assert watching.ailments(broker.driver, since) == []
        (told,) = watching.ailments(broker.driver, late)
        assert "not finished a sync for 7 s" in told
        assert (await get(door, "/health"))[0] == 200
        released.set()
        await client.receive()
        assert watching.ailments(broker.driver, late) == []
        await client.close()


async def test_V2_health_is_red_while_the_broker_stops() -> None:
    async with watched() as (broker, door):
        await broker.driver.stop()
        status, body = await get(door, "/health")
        assert (status, json.loads(body)["reasons"]) == (503, ["the broker is stopping"])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"\r\n\r\n", 405),
        (b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n", 0),
        (b"HEAD /health?x=1 HTTP/1.1\r\n\r\n", 200),
    ],
)
async def test_X4_other_requests_are_refused(request_: bytes, status: int) -> None:
    async with watched() as (_, door):
        assert (await visit(door, request_))[0] == status
        assert (await get(door, "/health"))[0] == 200


async def test_X3_visitors_are_bounded() -> None:
    async with watched() as (_, door):
        host, _, port = door.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(VISITORS)]
        await until(lambda: len(door._visits) == VISITORS)
        assert (await get(door, "/health"))[0] == 0
        for _, writer in silent:
            await closed(writer)
        await until(lambda: not door._visits)
        assert (await get(door, "/health"))[0] == 200


async def test_X3_a_visitor_that_does_not_read_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 32 << 20  # more than a system's buffers take
    monkeypatch.setattr(metrics_door, "PATIENCE_S", 0.05)
    monkeypatch.setattr(metrics_door, "_response", lambda *_: bytes(size))
    async with watched() as (_, door):
        host, _, port = door.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /health HTTP/1.1\r\n\r\n")
        await until(lambda: bool(door._visits))
        await until(lambda: not door._visits)
        found = 0
        try:
            while data := await reader.read(1 << 20):
                found += len(data)
        except ConnectionResetError:
            pass
        assert found < size
        await closed(writer)


async def test_X3_partitions_shown_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PARTITIONS_SHOWN", 0)
    async with watched() as (broker, door):
        client = await client_of(broker)
        await client.ask(PRODUCE, 8, produce_request(b"value"))
        found = await scraped(door)
        assert found["flowstream_broker_partitions_not_shown", ()] == 1
        assert ("kafka_log_log_size", ("0", "t")) not in found
        await client.close()


def test_durations_fall_into_buckets() -> None:
    durations = Durations()
    for nanoseconds in (0, 1_000, 3_999, 4_000, 10**15):
        durations.add(nanoseconds)
    assert durations.buckets[:3] == [1, 2, 1]
    assert (durations.buckets[-1], durations.count, len(durations.buckets)) == (1, 5, BUCKETS)
    for bucket in range(1, BUCKETS - 1):
        assert bucket_of(4**bucket * 1_000 - 1) == bucket
        assert bucket_of(4**bucket * 1_000) == bucket + 1


async def test_every_metric_is_documented() -> None:
    told = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    async with watched() as (broker, door):
        client = await client_of(broker)
        _, body = await get(door, "/metrics")
        names = {
            family.name + "_total" * (family.type == "counter")
            for family in text_string_to_metric_families(body.decode())
        }
        ours = {name for name in names if not name.startswith("process_")}
        assert len(ours) > 20
        assert {name for name in ours if f"`{name}`" not in told} == set()
        await client.close()
