"""Another app's worker where an owner was."""

from __future__ import annotations

import pytest

import flowstream as fs
from flowstream.processing.queries.router import ASKED_APP, MISDIRECTED
from tests.processing.conftest import Kit
from tests.web.conftest import visited
from tests.web.test_queries import Words


async def test_S1_another_app_at_the_owners_address_does_not_answer(kit: Kit, name: str) -> None:
    """A worker that is gone is known to its group for a while, and its port may be another's."""
    mine, other = Words(kit, name, data="a"), Words(kit, f"{name}-other", data="b")
    await kit.create(mine.app)
    await kit.create(other.app)
    async with visited(kit, mine.app) as (worker, _):
        sent = await mine.send("w")
        assert await mine.app.query(mine.counts).get("w", after=sent) == 1
        port = int(str(worker.web_address).rpartition(":")[2])
    other.app.conf.web_port = port
    async with visited(kit, other.app) as (_, client):
        sent = await other.send("w", "w")
        assert await other.app.query(other.counts).get("w", after=sent) == 2
        with pytest.raises(fs.TableUnavailable):
            await mine.app.query(mine.counts).get("w", timeout=0.5)
        for path in ("/tables", "/"):
            answer = await client.get(path, headers={ASKED_APP: name})
            assert (answer.status_code, answer.json()["kind"]) == (421, "misdirected")
            assert MISDIRECTED in answer.headers
