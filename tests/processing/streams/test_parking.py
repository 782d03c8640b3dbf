"""Parked events: how many of one key there is room for."""

from __future__ import annotations

import flowstream as fs
from flowstream.processing.streams.parking import LOT_BYTES, LOTS
from flowstream.state.table import ROW_BYTES
from tests.processing.rig import Rig

EVENTS = 250


async def test_S11_headers_take_room_among_the_parked_events_of_a_key() -> None:
    """A row that its changelog does not take would end the worker, again after each start."""
    app = fs.App("parking")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)

    @app.agent(inputs, on_error=fs.park(backoff=60))
    async def fail(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            raise ValueError("not now")

    rig = Rig(app)
    await rig.open()
    for number in range(EVENTS):
        rig.put("in", b"k", b"%d" % number, (("trace", b"t" * 5_000),))
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert rig.failure is None
    row = rig.stores["fail-parked"].get(b"=k") or b""
    parked = [int(event.value or b"") for event in LOTS.decode(row).events]
    letters = [int(value or b"") for _, value in rig.told(app.dead_letters)]
    assert [*parked, *letters] == list(range(EVENTS)), "none is lost, in order"
    assert LOT_BYTES / 2 < len(row) < LOT_BYTES < ROW_BYTES
    await rig.crash()
