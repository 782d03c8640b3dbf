"""How many visit a worker's web server at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.processing.conftest import DEADLINE_S, Kit
from tests.web.conftest import visited


async def test_V2_X3_visitors_at_their_bound_do_not_have_a_living_worker_killed(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its health was answered 503 then, as if it were dead."""
    monkeypatch.setattr("flowstream.web.serving.MOST_VISITS", 2)
    app, inside, leave = kit.app(name, web_port=0), asyncio.Queue[int](), asyncio.Event()
    app.topic(f"{name}-in", partitions=1)

    @app.page("/stay")
    async def stay(web: Any, request: Any) -> Any:
        inside.put_nowait(1)
        await leave.wait()
        return web.text("left")

    async with visited(kit, app) as (_, client):
        staying = [asyncio.create_task(client.get("/stay")) for _ in range(2)]
        async with asyncio.timeout(DEADLINE_S):
            for _ in staying:
                await inside.get()
        refused = await client.get("/tables")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"] == "2 visitors are here already"
        assert (await client.get("/health")).status_code == 200
        leave.set()
        assert [(await each).text for each in staying] == ["left", "left"]
        assert (await client.get("/tables")).status_code == 200
