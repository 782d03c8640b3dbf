"""The door for those who watch: `GET /metrics` and `GET /health` over HTTP, nothing else.

Small on purpose: one request per connection, bounded in size, time and number. It must not slow the
broker down: values are taken on the loop, the text is made in a thread.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket

from flowstream.broker.server.counters import Counters
from flowstream.broker.server.driver import Driver
from flowstream.broker.server.exposition import CONTENT_TYPE, Exposition
from flowstream.broker.server.ports import written
from flowstream.broker.server.watching import Watch, ailments

log = logging.getLogger("flowstream.broker")

HEAD_BYTES = 8 * 1024
PATIENCE_S = 10.0
VISITORS = 16
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


class MetricsDoor:
    """Serves one driver's numbers until it is closed."""

    def __init__(self, driver: Driver, counters: Counters) -> None:
        """What is appended counts from now on."""
        self.address = ""
        self._driver = driver
        self._watch = Watch(driver)
        self._exposition = Exposition(counters)
        self._server: asyncio.Server | None = None
        self._visits: set[asyncio.Task[None]] = set()
        self._scraping = asyncio.Lock()

    async def open(self, listening: socket.socket) -> None:
        """Answer on `listening` from now on."""
        host, port = listening.getsockname()[:2]
        self.address = written(host, port)
        self._server = await asyncio.start_server(self._visit, sock=listening, limit=HEAD_BYTES)

    async def close(self) -> None:
        """Answer nobody any more."""
        if self._server is not None:
            self._server.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = asyncio.current_task()
        assert visit is not None
        try:
            if len(self._visits) >= VISITORS:
                return
            self._visits.add(visit)
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._answer(head)
                writer.write(_response(head, status, kind, body))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # its visitor's own affair (X4)
        finally:
            self._visits.discard(visit)
            writer.transport.abort()  # a visitor that does not read would stay as long as it likes

    async def _answer(self, head: bytes) -> Answer:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return 405, _TEXT, b"GET is answered here, nothing else\n"
        if path == b"/health":
            return self._health()
        if path == b"/metrics":
            return await self._metrics()
        return 404, _TEXT, b"here are /metrics and /health\n"

    def _health(self) -> Answer:
        reasons = ailments(self._driver)
        body = {"status": "failing" if reasons else "ok", "reasons": reasons}
        return 503 if reasons else 200, _JSON, json.dumps(body).encode() + b"\n"

    async def _metrics(self) -> Answer:
        async with self._scraping:
            numbers = self._watch.numbers()
            healthy = not ailments(self._driver)
            text = await asyncio.to_thread(self._exposition.text, numbers, healthy)
        return 200, CONTENT_TYPE, text


def _response(head: bytes, status: int, kind: str, body: bytes) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + (b"" if head.startswith(b"HEAD ") else body)


async def open_metrics(driver: Driver, counters: Counters, listening: socket.socket) -> MetricsDoor:
    """Serve the numbers of `driver` on a socket that listens."""
    door = MetricsDoor(driver, counters)
    await door.open(listening)
    log.info("metrics and health at http://%s/", door.address)
    return door
