"""Level `socket`: bytes over real sockets to a server without security. Frames with lying lengths,
cut ones, pipelined ones, one byte at a time; clients that hang, leave or do not read.

One input is all that one connection says. Afterwards the server lives, has let go of whoever is
gone, and serves an innocent client.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Self

from flowstream.broker.server.connection import Connection
from flowstream.broker.server.driver import Driver
from flowstream.wire.api import request_class
from flowstream.wire.frame import encode_request
from tests.broker.server.serving import VERSIONS, RawClient, served
from tests.fuzz.asking import EXPANDED, PER_PARTITION, SERVED, prepare
from tests.fuzz.generate import message, mutated
from tests.fuzz.watch import Finding, Watch

ANSWER_S = 20
"""Wall time: the machine may be busy with other things."""
LENGTHS = (0, 1, -1, -(2**31), 2**31 - 1, 104_857_600, 104_857_601, 65_536, 65_537, 7, 10)
HANGING = 20
"""Clients that say no more and do not leave."""
BEFORE_LOGIN_BYTES = 64 * 1024 + 4
INNOCENT_EVERY = 10
PARTITIONS = 300 * PER_PARTITION
"""Memory for what a connection's requests made."""

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


def stream(rng: random.Random, served: list[tuple[int, int]] = SERVED) -> bytes:
    """What one client says: frames, right or wrong."""
    return b"".join(_frame(rng, served) for _ in range(rng.choice((1, 1, 2, 3, 8))))


def _frame(rng: random.Random, served: list[tuple[int, int]]) -> bytes:
    key, version = rng.choice(served)
    prepare(key, version)
    body = message(request_class(key), version, rng)
    frame = b"".join(encode_request(key, version, rng.randrange(9), "fuzz", body))[4:]
    chance = rng.random()
    if chance < 0.3:
        frame = mutated(frame, rng)
    elif chance < 0.35:
        frame = rng.randbytes(rng.randrange(80))
    length = len(frame)
    if rng.random() < 0.15:
        length = rng.choice((*LENGTHS, length - 1, length + 1))
    return struct.pack(">i", length) + frame


def pieces(data: bytes, rng: random.Random) -> list[bytes]:
    """The same bytes as they come in: at once, in two parts, in many, byte by byte, not all."""
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)]
    match rng.randrange(8):
        case 0 if len(data) <= 300:
            return [data[at : at + 1] for at in range(len(data))]
        case 1 | 2:
            cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((1, 1, 5))))
            return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        case _:
            return [data]


class Clients:
    """The connections of one chunk, and an innocent one among them."""

    def __init__(
        self, driver: Driver, innocent: RawClient, rng: random.Random, watch: Watch
    ) -> None:
        self.seen: Counter[str] = Counter()
        self._driver = driver
        self._innocent = innocent
        self._rng = rng
        self._watch = watch
        self._hanging: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._leave()

    async def say(self, connect: Connect, data: bytes) -> None:
        """One input: a client comes, says it all, and does as clients do."""
        parts = pieces(data, self._rng)
        try:
            with self._watch.over(len(data), more=EXPANDED + PARTITIONS):
                self.seen[await self._say(connect, parts)] += 1
            if self._watch.number % INNOCENT_EVERY == 0:
                await self._check()
        except Exception as error:
            error.add_note(f"{parts!r:.3000}")
            raise

    async def _say(self, connect: Connect, parts: list[bytes]) -> str:
        try:
            reader, writer = await connect()
        except (OSError, EOFError):
            return "refused"
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0)
            match self._rng.randrange(6):
                case 0:
                    return "aborted"
                case 1:
                    self._hanging.append(writer)
                    return "left hanging"
                case _:
                    return await self._finish(reader, writer)
        finally:
            if writer not in self._hanging:
                writer.transport.abort()
            elif len(self._hanging) > HANGING:
                self._hanging.pop(0).transport.abort()

    async def _finish(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Say that no more comes, and read what is answered to the end."""
        try:
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()
            async with asyncio.timeout(ANSWER_S):
                answered = len(await reader.read(1 << 24))
                while await reader.read(1 << 24):
                    pass
        except TimeoutError as error:
            raise Finding("a connection that is not closed at its peer's end") from error
        except OSError:
            return "cut off"
        return "answered" if answered else "closed"

    async def _check(self) -> None:
        """The server lives, and serves others."""
        if self._driver.failed is not None:
            raise Finding("the broker failed") from self._driver.failed
        connections = self._driver.connections
        for each in connections.values():
            if not each.logged_in and len(each._buffer) > BEFORE_LOGIN_BYTES:
                raise Finding(f"{len(each._buffer)} bytes of buffer before a login")
        memory = self._driver.cores.memory
        held = {who: each._holds(len(each._buffer)) for who, each in connections.items()}
        if memory.held != sum(held.values()) or any(memory.holds(w) != held[w] for w in held):
            raise Finding(f"the account says {memory.held}, connections hold {held}")
        answer = await self._innocent.ask(18, 3, VERSIONS)
        assert answer.error_code == 0, answer

    async def end(self) -> None:
        """Everyone leaves: the server lets go of them."""
        await self._check()
        await self._leave()
        connections = self._driver.connections
        async with asyncio.timeout(ANSWER_S):
            while any(map(_is_kept, connections.values())):  # noqa: ASYNC110
                await asyncio.sleep(0)
        parked = len(self._driver.cores.waiting._by_connection)
        if parked > len(connections):
            raise Finding(f"requests of {parked} connections wait, there are {len(connections)}")

    async def _leave(self) -> None:
        for writer in (*self._hanging, self._innocent.writer):
            writer.transport.abort()
        self._hanging.clear()
        await asyncio.sleep(0)


def _is_kept(connection: Connection) -> bool:
    """One that waits for an answer with a full buffer is not read: it learns of its peer's end when
    it answers.
    """
    return connection._reading or not connection._answers.expected


def socket(seed: int, count: int, watch: Watch) -> Counter[str]:
    """Talk to a server without security."""
    return asyncio.run(_socket(seed, count, watch))


async def _socket(seed: int, count: int, watch: Watch) -> Counter[str]:
    rng = random.Random(seed)
    async with served(fsync=rng.random() < 0.5, offsets_topic_num_partitions="1") as broker:

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            return await asyncio.open_connection("127.0.0.1", broker.listener.port)

        innocent = await broker.client()
        async with Clients(broker.driver, innocent, rng, watch) as clients:
            for _ in range(count):
                await clients.say(connect, stream(rng))
            await clients.end()
            return clients.seen
