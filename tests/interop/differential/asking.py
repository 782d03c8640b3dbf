"""One client for two brokers: requests written as plain values, answers told as plain values in
which whatever may differ (ids, ports, times) has a label in the order of its first appearance.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowstream import clock
from flowstream.errors import WireError
from flowstream.wire.api import API, request_class
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.fields import ZERO_UUID, layout_of
from flowstream.wire.frame import decode_response, encode_request

PATIENCE_S = 20
CONCURRENT = ErrorCode.CONCURRENT_TRANSACTIONS
CLIENT = "differential"

Body = Mapping[str, Any]
Line = tuple[str, Any]

LABELLED = {"member_id": "M", "topic_id": "T", "producer_id": "P", "leader": "M"}
"""Fields whose values are made up by the broker; equal ones have the same label."""

MASKED = {
    "throttle_time_ms", "host", "port", "cluster_id", "log_dir", "topic_config_error_code",
    "error_message", "batch_index_error_message", "session_id", "total_bytes", "usable_bytes",
    "last_timestamp", "transaction_start_time_ms", "replica_directory_id",
    "last_fetch_timestamp", "last_caught_up_timestamp", "timestamp",
}  # fmt: skip
"""Fields that are told but not compared."""


class Client:
    """Asks one broker, and writes down what it answers."""

    def __init__(self, address: str, user: str = "", password: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._socket: socket.socket | None = None
        self._login = f"\0{user}\0{password}".encode() if user else b""
        self._asked = 0
        self._labels: dict[tuple[str, object], str] = {}
        self.lines: list[Line] = []

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def begin(self) -> None:
        """Wait until the broker coordinates: its internal topics are made when they are needed."""
        for kind in (0, 1):
            self.quietly(10, {"key_type": kind, "coordinator_keys": ["any"]}, 4)
        begun = {"transactional_id": "any", "transaction_timeout_ms": 1000}
        self.until(lambda: not self.quietly(9, {"group_id": "any", "topics": []}, 7).error_code)
        self.until(lambda: not self.quietly(22, begun, 4).error_code)

    def until(self, condition: Callable[[], bool]) -> None:
        """Ask again until `condition`: much of Kafka happens in the background."""
        deadline = clock.monotonic_ms() + PATIENCE_S * 1000
        while not condition():
            assert clock.monotonic_ms() < deadline, "it does not happen"
            time.sleep(0.05)

    def ask(self, key: int, body: Body, version: int | None = None, note: str = "") -> Any:
        """The answer, which is written down; None when the connection ends instead."""
        if version is None:
            version = API[key].max_version
        name = request_class(key).__name__.removesuffix("Request")
        what = f"{name} v{version} {note or brief(body)}"
        answer = self.quietly(key, body, version)
        while getattr(answer, "error_code", 0) == CONCURRENT:
            time.sleep(0.05)  # Kafka completes a transaction in the background
            answer = self.quietly(key, body, version)
        self.lines.append((what, "closed" if answer is None else self._plain(answer)))
        return answer

    def each(
        self, key: int, body: Body | Callable[[int], Body], versions: Iterable[int] = ()
    ) -> None:
        """Ask in every version that can say it."""
        for version in versions or range(API[key].min_version, API[key].max_version + 1):
            told = body(version) if callable(body) else body
            try:
                self.ask(key, told, version)
            except WireError:
                continue  # this version has no word for it

    def quietly(self, key: int, body: Body, version: int | None = None) -> Any:
        """The answer, which is not compared."""
        if version is None:
            version = API[key].max_version
        try:
            if self._socket is None:
                self._connect()
            return self._exchange(key, body, version)
        except (ConnectionError, EOFError):
            self.close()
            return None

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, PATIENCE_S)
        if self._login:
            assert self._exchange(17, {"mechanism": "PLAIN"}, 1).error_code == 0
            assert self._exchange(36, {"auth_bytes": self._login}, 2).error_code == 0

    def _exchange(self, key: int, body: Body, version: int) -> Any:
        assert self._socket is not None
        request = build(request_class(key), body)
        self._asked += 1
        self._socket.sendall(b"".join(encode_request(key, version, self._asked, CLIENT, request)))
        size = int.from_bytes(self._receive(4), "big")
        number, answer = decode_response(key, version, self._receive(size))
        assert number == self._asked
        return answer

    def _receive(self, size: int) -> bytes:
        assert self._socket is not None
        found = b""
        while len(found) < size:
            more = self._socket.recv(size - len(found))
            if not more:
                raise EOFError
            found += more
        return found

    def call(self, field: str, value: object, name: str) -> None:
        """Have a label of one's own for a value that the broker made up."""
        self._labels[LABELLED[field], value] = name

    def _plain(self, value: Any, name: str = "") -> Any:
        if name in LABELLED and value not in ("", ZERO_UUID, -1):
            kind = LABELLED[name]
            number = sum(each.startswith(kind) for each in self._labels.values())
            return self._labels.setdefault((kind, value), f"{kind}{number}")
        if isinstance(value, tuple):
            if name == "active_producers":  # of this story; they are told in any order
                kind = LABELLED["producer_id"]
                known = [each for each in value if (kind, each.producer_id) in self._labels]
                value = sorted(known, key=_of_producer)
            return sorted((self._plain(each, name) for each in value), key=_order)
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).hex()
        if hasattr(type(value), "__slots__") and not isinstance(value, int | str | float):
            fields = (each.name for each in layout_of(type(value)).fields)
            return {
                field: self._plain(getattr(value, field), field)
                for field in fields
                if field not in MASKED
            }
        return value


_NAMES = (
    "name", "topic", "topic_name", "group_id", "transactional_id", "resource_name", "key",
    "entity_type", "entity_name", "partition_index", "partition_id", "resource_type",
    "pattern_type", "principal", "operation", "permission_type", "mechanism", "topic_id",
)  # fmt: skip


def _order(value: Any) -> tuple[str, ...]:
    """The order within an answer is nobody's promise; of equal names it stays."""
    if not isinstance(value, dict):
        return ("",)
    if isinstance(value.get("entity"), list):
        return tuple(str(each) for each in value["entity"])
    return tuple(str(value[name]).zfill(9) for name in _NAMES if value.get(name) is not None)


def _of_producer(value: Any) -> tuple[int, ...]:
    return value.current_txn_start_offset, value.last_sequence, value.producer_epoch


def build(cls: type[Any], values: Body) -> Any:
    """A message from nested mappings and lists."""
    types = {field.name: field.type for field in layout_of(cls).fields}
    return cls(**{name: _built(types[name], value) for name, value in values.items()})


def _built(type: Any, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_built(type.element, each) for each in value)
    if isinstance(value, Mapping):
        return build(type.layout.cls, value)
    return value


def brief(body: Any) -> str:
    """A request in one line."""
    if isinstance(body, Mapping):
        return "{" + " ".join(f"{name}={brief(value)}" for name, value in body.items()) + "}"
    if isinstance(body, list | tuple):
        return "[" + ", ".join(map(brief, body)) + "]"
    if isinstance(body, bytes):
        return f"{len(body)} bytes" if body not in (ZERO_UUID,) else "zero"
    return repr(body)


def differences(
    ours: Iterable[Line], theirs: Iterable[Line], path: str = ""
) -> list[tuple[str, str]]:
    """What is answered otherwise: (request and place, ours and theirs)."""
    found: list[tuple[str, str]] = []
    for (what, mine), (_, other) in zip(ours, theirs, strict=True):
        found += [(f"{what} :: {where}", text) for where, text in _compare(mine, other, "")]
    return found


def _compare(mine: Any, other: Any, where: str) -> list[tuple[str, str]]:
    if type(mine) is type(other) and isinstance(mine, dict):
        return [
            each for name in mine for each in _compare(mine[name], other[name], f"{where}.{name}")
        ]
    if isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        return [
            each
            for number, (a, b) in enumerate(zip(mine, other, strict=True))
            for each in _compare(a, b, f"{where}[{number}]")
        ]
    return [] if mine == other else [(where, f"ours {mine!r}, Kafka {other!r}")]
