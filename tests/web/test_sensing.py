"""What the web server of a worker tells the app's sensors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import flowstream as fs
from tests.processing.conftest import Kit
from tests.web.conftest import visited


async def test_requests_are_told_to_sensors(kit: Kit, name: str) -> None:
    app = kit.app(name, web_port=0)
    monitor, told = app.monitor, list[Any]()

    class Notes(fs.Sensor):
        """Writes requests down."""

        def on_web_request_start(self, app: Any, request: Any) -> Any:
            return (app.id, request.url.path)

        def on_web_request_end(self, app: Any, request: Any, response: int, state: Any) -> None:
            told.append((*state, response))

    app.sensors.add(Notes())

    @app.agent(app.topic(f"{name}-in", value_type=str, partitions=1))
    async def see(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    await kit.create(app)
    async with visited(kit, app) as (_, client):
        await client.get("/health")
        await client.get("/nothing")
        await kit.sees(lambda: len(told) == 2)
    assert [(id, path) for id, path, _ in told] == [(name, "/health"), (name, "/nothing")]
    assert told[1][2] == 404
    assert monitor.http_response_codes[HTTPStatus.NOT_FOUND] == 1
    assert sum(monitor.http_response_codes.values()) == 2
    assert len(monitor.http_response_latency) == 2
    assert monitor.http_response_latency_avg > 0
    assert monitor.asdict()["http_response_codes"][404] == 1
