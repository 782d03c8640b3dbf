"""A broker process among many clients: idle ones, busy ones, slow readers, and a storm (X3, X4)."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstream import clock
from flowstream.wire.batch import encode_batch
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import decode_response, encode_request
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from tests.broker.server.serving import VERSIONS, fetch_request, produce_request
from tests.interop.conftest import BrokerProcess

pytestmark = [pytest.mark.slow, pytest.mark.interop]

IDLE = 2_000
BUSY = 200
REQUESTS = 50
SLOW_READERS = 20
MEBIBYTE = 1 << 20


class Blocking:
    """A client of raw frames on a blocking socket."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", broker.port), timeout=60)

    def send(self, key: int, version: int, body: object) -> None:
        self.socket.sendall(b"".join(encode_request(key, version, 1, "test", body)))

    def ask(self, key: int, version: int, body: object) -> object:
        self.send(key, version, body)
        (size,) = struct.unpack(">i", self._read(4))
        return decode_response(key, version, self._read(size))[1]

    def _read(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            part = self.socket.recv(size - len(found))
            if not part:
                raise ConnectionResetError("the broker closed the connection")
            found += part
        return bytes(found)

    def create(self, topic: str, **configs: str) -> None:
        wanted = CreatableTopic(name=topic, num_partitions=1, replication_factor=1)
        self.ask(19, 5, CreateTopicsRequest(topics=(wanted,), timeout_ms=5000))


def resident_kb(broker: BrokerProcess) -> int:
    assert broker.process is not None
    status = Path(f"/proc/{broker.process.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


@contextlib.contextmanager
def many(broker: BrokerProcess, count: int) -> Iterator[list[Blocking]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 2_000), hard))
    with contextlib.ExitStack() as closing:
        clients = []
        for _ in range(count):
            client = Blocking(broker)
            closing.callback(client.socket.close)
            clients.append(client)
        yield clients
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def keep_busy(broker: BrokerProcess, clients: int) -> None:
    """`clients` at once, each with its own requests; all are answered rightly."""
    wrong: list[object] = []

    def work() -> None:
        client = Blocking(broker)
        for _ in range(REQUESTS):
            answer = client.ask(0, 8, produce_request())
            wrong.extend(
                p.error_code
                for p in answer.responses[0].partition_responses  # type: ignore[attr-defined]
                if p.error_code
            )
        client.socket.close()

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_X3_X4_two_thousand_idle_and_two_hundred_busy(own_broker: BrokerProcess) -> None:
    first = Blocking(own_broker)
    first.create("t")
    keep_busy(own_broker, 20)
    before = resident_kb(own_broker)
    peaks = []
    for _ in range(2):
        with many(own_broker, IDLE) as idle:
            keep_busy(own_broker, BUSY)
            for client in idle[::100]:
                assert client.ask(18, 3, VERSIONS).error_code == 0  # type: ignore[attr-defined]
            peaks.append(resident_kb(own_broker))
    assert peaks[0] - before < (IDLE + BUSY) * 16
    assert peaks[1] < peaks[0] * 1.1, "what the first crowd took serves the second"
    first.socket.close()


def test_X4_a_connection_storm_leaves_the_listener_alive(own_broker: BrokerProcess) -> None:
    address = ("127.0.0.1", own_broker.port)
    for _ in range(20):
        storm = []
        for _ in range(500):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(address)
            storm.append(client)
        for client in storm:
            client.close()
    after = Blocking(own_broker)
    assert after.ask(18, 3, VERSIONS).error_code == 0  # type: ignore[attr-defined]
    after.socket.close()


def test_X3_slow_readers_hold_a_bounded_part_of_what_they_ask_for(
    own_broker: BrokerProcess,
) -> None:
    writer = Blocking(own_broker)
    writer.create("t")
    value = b"v" * (900 * 1024)
    for _ in range(20):
        writer.ask(0, 8, produce_request(value))
    before = resident_kb(own_broker)
    with many(own_broker, SLOW_READERS) as readers:
        for reader in readers:
            for _ in range(10):  # 10 MiB each, of which nothing is read
                reader.send(1, 11, fetch_request(0))
        other = writer.ask(0, 8, produce_request(b"x"))
        assert other.responses[0].partition_responses[0].error_code == 0  # type: ignore[attr-defined]
        assert resident_kb(own_broker) - before < SLOW_READERS * 4 * 1024
    writer.socket.close()


def test_X3_a_batch_over_the_cap_is_refused_and_one_over_the_frame_closes(
    own_broker: BrokerProcess,
) -> None:
    client = Blocking(own_broker)
    client.create("t")
    before = resident_kb(own_broker)
    batch = bytes(encode_batch([(clock.wall_ms(), None, bytes(99 * MEBIBYTE), ())]))
    answer = client.ask(0, 8, produce_request(batch=batch))
    found = answer.responses[0].partition_responses[0]  # type: ignore[attr-defined]
    assert found.error_code == ErrorCode.MESSAGE_TOO_LARGE
    assert client.ask(18, 3, VERSIONS).error_code == 0  # type: ignore[attr-defined]
    over = Blocking(own_broker)
    over.socket.sendall(struct.pack(">i", 100 * MEBIBYTE + 1) + b"x" * 1000)
    assert over.socket.recv(1) == b""
    over.socket.close()
    assert resident_kb(own_broker) < before + 250 * 1024
    client.socket.close()
