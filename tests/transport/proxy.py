"""A TCP proxy that knows Kafka's frames: it loses, repeats and holds back chosen requests.

Addresses in the broker's answers are replaced by the proxy's, so that clients stay behind it.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

from flowstream.errors import WireError
from flowstream.wire.api import ApiKey
from flowstream.wire.frame import Request, decode_request, decode_response, encode_response
from flowstream.wire.schema import replace

_LENGTH = struct.Struct(">i")


class Fault(Enum):
    """What happens to one request."""

    LOSE_REQUEST = "the broker never sees it, the client loses its connection"
    LOSE_REPLY = "the broker carries it out, the client loses its connection"
    REPEAT = "the broker gets it twice, on two connections; the client gets one answer"
    HOLD = "the client loses its connection; release() delivers it later"
    DELAY = "the broker gets it after `delay_s`, and so what follows on the connection"


class Proxy:
    """Listens on a loopback port; a broker is behind it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.address = ""
        self.port = 0
        self.delay_s = 1.0
        self.counts: dict[ApiKey, int] = {}
        self._faults: deque[tuple[ApiKey, Fault, Callable[[Any], bool]]] = deque()
        self._held: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def inject(
        self,
        key: ApiKey,
        fault: Fault,
        times: int = 1,
        *,
        when: Callable[[Any], bool] = lambda body: True,
    ) -> None:
        """Let the next `times` requests of an API suffer, if their body is such."""
        self._faults.extend([(key, fault, when)] * times)

    @property
    def is_holding(self) -> bool:
        """Whether a request waits for `release`."""
        return bool(self._held)

    async def release(self) -> list[Any]:
        """Deliver the held requests now, in order; returns the broker's answers."""
        held, self._held = self._held, []
        return [await self._deliver(frame) for frame in held]

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            upstream = await asyncio.open_connection(*self._target)
        except OSError:  # nobody is behind the proxy just now
            writer.close()
            self._tasks.discard(task)
            return
        asked: dict[int, tuple[int, int, Fault | None]] = {}
        back = asyncio.ensure_future(self._back(upstream[0], writer, asked))
        try:
            while True:
                frame = await _read_frame(reader)
                if not await self._forth(frame, upstream[1], asked):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            upstream[1].close()
            writer.close()
            self._tasks.discard(task)

    async def _forth(
        self,
        frame: bytes,
        upstream: asyncio.StreamWriter,
        asked: dict[int, tuple[int, int, Fault | None]],
    ) -> bool:
        """Pass one request on; False when the client's connection is to end."""
        request = _decoded(frame)
        fault = None
        if request is not None:
            key = ApiKey(request.key)
            self.counts[key] = self.counts.get(key, 0) + 1
            fault = self._fault(request)
            asked[request.correlation_id] = (request.key, request.version, fault)
        if fault is Fault.LOSE_REQUEST:
            return False
        if fault is Fault.HOLD:
            self._held.append(frame)
            return False
        if fault is Fault.REPEAT:
            await self._deliver(frame)
        if fault is Fault.DELAY:
            await asyncio.sleep(self.delay_s)
        upstream.write(_LENGTH.pack(len(frame)) + frame)
        await upstream.drain()
        return True

    def _fault(self, request: Request) -> Fault | None:
        for item in self._faults:
            if item[0] == request.key and item[2](request.body):
                self._faults.remove(item)
                return item[1]
        return None

    async def _back(
        self,
        upstream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        asked: dict[int, tuple[int, int, Fault | None]],
    ) -> None:
        try:
            while True:
                frame = await _read_frame(upstream)
                (correlation_id,) = _LENGTH.unpack_from(frame)
                key, version, fault = asked.pop(correlation_id, (-1, 0, None))
                if fault is Fault.LOSE_REPLY:
                    break
                writer.write(self._rewritten(key, version, frame))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _rewritten(self, key: int, version: int, frame: bytes) -> bytes:
        """The frame with its length, its addresses turned to the proxy."""
        if key not in (ApiKey.METADATA, ApiKey.FIND_COORDINATOR):
            return _LENGTH.pack(len(frame)) + frame
        correlation_id, body = decode_response(key, version, frame)
        here = {"host": "127.0.0.1", "port": self.port}
        if key == ApiKey.METADATA:
            body = replace(body, brokers=tuple(replace(b, **here) for b in body.brokers))
        elif body.coordinators:
            places = tuple(replace(found, **here) for found in body.coordinators)
            body = replace(body, coordinators=places)
        else:
            body = replace(body, **here)
        return b"".join(encode_response(key, version, correlation_id, body))

    async def _deliver(self, frame: bytes) -> Any:
        """Send a request on a connection of its own and return the answer's body."""
        request = _decoded(frame)
        assert request is not None
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            writer.write(_LENGTH.pack(len(frame)) + frame)
            answer = await _read_frame(reader)
        finally:
            writer.close()
        return decode_response(request.key, request.version, answer)[1]


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = _LENGTH.unpack(await reader.readexactly(4))
    return await reader.readexactly(size)


def _decoded(frame: bytes) -> Request | None:
    try:
        return decode_request(frame)
    except WireError:
        return None
