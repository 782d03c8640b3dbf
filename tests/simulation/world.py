"""Virtual time and a network between clients and one broker; everything random comes from one seed.

An actor is a generator: it yields a `Call` (answered with the response body, or None when no answer
came in
time) or a number of milliseconds to sleep. It knows nothing of how the broker runs.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from flowstream.broker.types import ConnectionId, Instant, ReplyTo
from flowstream.wire.frame import decode_response, encode_request, encode_response
from tests.checkers.history import Operation

START = Instant(1_760_000_000_000)
TIMEOUT_MS = 1_500


@dataclass(frozen=True, slots=True)
class Call:
    """One request and how long its sender waits for the answer."""

    key: int
    version: int
    body: object
    timeout_ms: int = TIMEOUT_MS


Actor = Generator[Call | int, Any, None]


@dataclass(frozen=True, slots=True)
class Faults:
    """How the network misbehaves, as probabilities per message, and how long messages take."""

    drop: float = 0.0
    duplicate: float = 0.0
    slow: float = 0.0
    slow_ms: int = 800


class Broker(Protocol):
    """What the network needs of the broker."""

    def request(self, connection: ConnectionId, frame: memoryview) -> bool:
        """A frame (without its length) arrived on a connection; False when nobody listens."""
        ...

    def disconnected(self, connection: ConnectionId) -> None:
        """A connection is gone."""
        ...


@dataclass(slots=True)
class Pending:
    """A call that waits for its answer."""

    call: Call
    actor: Actor
    done: bool = False


@dataclass(slots=True)
class World:
    """The agenda of everything that will happen, and the history of what the clients saw."""

    seed: int
    faults: Faults = field(default_factory=Faults)
    now: Instant = START
    history: list[Operation] = field(default_factory=list)
    broker: Broker | None = None
    rng: random.Random = field(init=False)
    running: int = 0
    failures: list[str] = field(default_factory=list)
    _agenda: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _pending: dict[tuple[int, int], Pending] = field(default_factory=dict)
    _connections: dict[int, int] = field(default_factory=dict)
    _next_connection: int = 1
    _reset: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def later(self, ms: int, action: Callable[[], None]) -> None:
        """Do `action` in `ms` milliseconds; equal times in the order of asking."""
        heapq.heappush(self._agenda, (self.now + ms, next(self._count), action))

    def run(self, *, until: Instant | None = None, while_running: bool = False) -> None:
        """Work through the agenda up to an instant, or while actors run."""
        while self._agenda:
            if while_running and not self.running:
                return
            if until is not None and self._agenda[0][0] > until:
                break
            when, _, action = heapq.heappop(self._agenda)
            self.now = Instant(max(when, self.now))
            action()
        if until is not None:
            self.now = until

    # actors

    def start(self, actor: Actor) -> None:
        """Let an actor live from now on."""
        self.running += 1
        self.later(0, lambda: self._step(actor, None))

    def _step(self, actor: Actor, answer: object) -> None:
        try:
            wanted = actor.send(answer)
        except StopIteration:
            self.running -= 1
            return
        if isinstance(wanted, int):
            self.later(wanted, lambda: self._step(actor, None))
        else:
            self._call(actor, wanted)

    # network

    def _connection(self, actor: Actor) -> ConnectionId:
        number = self._connections.get(id(actor))
        if number is None:
            number = self._connections[id(actor)] = self._next_connection
            self._next_connection += 1
        return ConnectionId(number)

    def _call(self, actor: Actor, call: Call) -> None:
        connection = self._connection(actor)
        correlation = next(self._count)
        pending = Pending(call, actor)
        self._pending[connection, correlation] = pending
        parts = encode_request(call.key, call.version, correlation, "simulated", call.body)
        frame = b"".join(parts)[4:]
        for _ in range(1 + (self.rng.random() < self.faults.duplicate)):
            if self.rng.random() >= self.faults.drop:
                self.later(self._delay(), lambda: self._deliver(connection, correlation, frame))
        self.later(call.timeout_ms, lambda: self._give_up(connection, correlation))

    def _delay(self) -> int:
        slow = self.rng.random() < self.faults.slow
        return self.rng.randrange(1, self.faults.slow_ms) if slow else self.rng.randrange(0, 4)

    def _deliver(self, connection: ConnectionId, correlation: int, frame: bytes) -> None:
        assert self.broker is not None
        if connection in self._reset and not self.faults.duplicate:
            return  # TCP delivers nothing on a connection that was reset; a hostile network does
        # A fresh copy: the broker patches offsets into its receive buffer.
        if not self.broker.request(connection, memoryview(bytearray(frame))):
            self.later(self._delay() + 1, lambda: self._give_up(connection, correlation))

    def reset_connections(self) -> None:
        """The machine went down: every client that waits notices soon."""
        for connection, correlation in list(self._pending):
            self._reset.add(connection)
            self.later(self._delay() + 1, partial(self._give_up, connection, correlation))

    def reply(self, to: ReplyTo, body: object) -> None:
        """The broker answers; the answer may get lost or late on its way."""
        frame = b"".join(encode_response(to.api_key, to.version, to.correlation_id, body))[4:]
        if self.rng.random() >= self.faults.drop:
            self.later(self._delay(), lambda: self._answer(to, frame))

    def _answer(self, to: ReplyTo, frame: bytes) -> None:
        pending = self._pending.pop((to.connection, to.correlation_id), None)
        if pending is not None and not pending.done:
            pending.done = True
            correlation_id, body = decode_response(to.api_key, to.version, frame)
            assert correlation_id == to.correlation_id
            self._step(pending.actor, body)

    def _give_up(self, connection: int, correlation: int) -> None:
        """No answer in time: the client drops the connection and goes on with a new one."""
        pending = self._pending.pop((connection, correlation), None)
        if pending is not None and not pending.done:
            pending.done = True
            self._connections.pop(id(pending.actor), None)
            if self.broker is not None:
                self.broker.disconnected(ConnectionId(connection))
            self._step(pending.actor, None)
