"""What it costs to keep the versions of a table that events may still ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.declarations import relating
from tests.processing.rig import Rig

EVENTS = 300


async def test_V1_who_waits_is_looked_for_only_where_a_version_may_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look walks over what waits, and what follows a table's topic has an event per look."""
    app = fs.App("kept")
    left, right, out = (
        app.topic(name, key_type=str, value_type=str, partitions=1)
        for name in ("left", "right", "out")
    )
    table = app.table(right, history=3600)
    looks: list[bytes] = []

    @app.agent(left, sink=[out])
    async def look(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for each in stream.join(table, as_of=True):
            yield each.right

    waiting_since = relating.waiting_since

    def counted(view: Any, row: bytes) -> int:
        looks.append(row)
        return waiting_since(view, row)

    monkeypatch.setattr(relating, "waiting_since", counted)
    rig = Rig(app)
    await rig.open()
    for n in range(EVENTS):
        rig.put("left", b"%06d" % n, b"asks", at_ms=4_000_000 + n)
    rig.deliver()
    await rig.settle()
    for n in range(EVENTS):
        rig.put("right", b"%06d" % n, b"first", at_ms=1_000)
    rig.deliver()
    while rig.task.queued("right"):
        await rig.settle()
    assert looks == []
    for at_ms in (2_000, 3_900_000):
        rig.put("right", b"%06d" % 7, b"later", at_ms=at_ms)
    rig.put("right", b"end", b"end", at_ms=9_000_000)
    rig.put("left", b"end", b"end", at_ms=9_000_000)
    rig.deliver()
    for _ in range(5):
        await rig.settle()
        rig.commit()
    # The first of two that are older than the history may go, if nobody waits for it.
    assert looks == [b"%06d" % 7]
    assert len(rig.told("out")) == EVENTS
    await rig.crash()
