"""Workers with a web server inside a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

import flowstream as fs
from flowstream.web.serving import serving
from tests.processing.conftest import DEADLINE_S, Kit, address, kit, name

__all__ = ["address", "kit", "name", "visited"]


@asynccontextmanager
async def visited(
    kit: Kit, app: fs.App, **options: Any
) -> AsyncIterator[tuple[fs.Worker, httpx.AsyncClient]]:
    """A running worker with its web server, and a client of it."""
    worker = fs.Worker(app, kit.address, **options)
    async with serving(worker) as address:
        assert address is not None
        running = asyncio.create_task(worker.run())
        try:
            async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as client:
                yield worker, client
            worker.stop()
            async with asyncio.timeout(DEADLINE_S):
                await running
        finally:
            if not running.done():
                running.cancel()
                await asyncio.wait((running,))
