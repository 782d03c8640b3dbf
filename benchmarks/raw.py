"""A client that costs next to nothing: requests made beforehand, many in flight, over blocking
sockets. What it measures is the broker; librdkafka's own limit bounds what any broker shows there.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from flowstream.clock import wall_ms
from flowstream.wire.api import ApiKey
from flowstream.wire.batch import encode_batch
from flowstream.wire.frame import decode_response, encode_request
from flowstream.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)

PRODUCE_VERSION = 9
RECEIVE_BYTES = 256 * 1024


def request_bytes(key: int, version: int, body: object) -> bytes:
    """A request with its length, as it goes over the wire."""
    return b"".join(encode_request(key, version, 1, "benchmarks", body))


def produce_request(name: str, partition: int, *, count: int, size: int) -> bytes:
    """One batch of `count` records of `size` bytes to a partition, acks=all. It may be sent as
    often as one likes: without idempotence nothing in it changes.
    """
    records = encode_batch([(wall_ms(), None, b"x" * size, ())] * count)
    data = PartitionProduceData(index=partition, records=bytes(records))
    topic = TopicProduceData(name=name, partition_data=(data,))
    body = ProduceRequest(acks=-1, timeout_ms=30_000, topic_data=(topic,))
    return request_bytes(ApiKey.PRODUCE, PRODUCE_VERSION, body)


class Client:
    """One connection. A context manager."""

    def __init__(self, address: str) -> None:
        """Connect to `address` (HOST:PORT)."""
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send whole requests."""
        self._socket.sendall(data)

    def receive(self, count: int) -> list[bytes]:
        """The next `count` answers, without their lengths."""
        answers: list[bytes] = []
        received = self._received
        start = 0
        while True:
            while len(received) - start >= 4 and len(answers) < count:
                end = start + 4 + int.from_bytes(received[start : start + 4], "big")
                if len(received) < end:
                    break
                answers.append(bytes(received[start + 4 : end]))
                start = end
            del received[:start]
            start = 0
            if len(answers) == count:
                return answers
            more = self._socket.recv(RECEIVE_BYTES)
            if not more:
                raise RuntimeError("the broker closed the connection")
            received += more

    def ask(self, key: int, version: int, body: object) -> Any:
        """Send one request and wait for its answer."""
        self.send(request_bytes(key, version, body))
        return decode_response(key, version, self.receive(1)[0])[1]


def check_produced(answers: Sequence[bytes]) -> None:
    """Raise unless every batch was appended."""
    for answer in answers:
        body = decode_response(ApiKey.PRODUCE, PRODUCE_VERSION, answer)[1]
        for topic in body.responses:
            for partition in topic.partition_responses:
                if partition.error_code:
                    raise RuntimeError(f"error {partition.error_code} of {topic.name}")


def produce_rounds(clients: Sequence[Client], requests: Sequence[bytes], depth: int) -> None:
    """Send all `requests`: in every round each client sends `depth` of them, and waits for their
    answers when all clients have sent.
    """
    per_round = depth * len(clients)
    for first in range(0, len(requests), per_round):
        sent: list[tuple[Client, int]] = []
        for number, client in enumerate(clients):
            start = first + number * depth
            part = requests[start : min(start + depth, first + per_round)]
            if part:
                client.send(b"".join(part))
                sent.append((client, len(part)))
        for client, count in sent:
            check_produced(client.receive(count))


def produce_pipelined(client: Client, request: bytes, count: int, depth: int) -> None:
    """Send `request` `count` times, half of `depth` again whenever that many were answered."""
    half = depth // 2
    burst = request * half
    client.send(burst)
    for _ in range(count // half - 1):
        client.send(burst)
        check_produced(client.receive(half)[-1:])
    check_produced(client.receive(half))
