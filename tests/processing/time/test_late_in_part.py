"""Events of which some windows have closed: what is left out is counted (S11)."""

from __future__ import annotations

from typing import Any, Literal

import pytest

import flowstream as fs
from tests.processing.rig import Rig


async def told(app: fs.App, *events: tuple[str, float]) -> Rig:
    """The app after these events (value, seconds) of one key."""
    rig = Rig(app)
    await rig.open()
    for value, at in events:
        rig.put("in", b"k", value.encode(), at_ms=round(at * 1000))
    rig.deliver()
    for _ in range(3):
        await rig.settle()
        rig.commit()
    assert rig.failure is None
    return rig


async def test_S11_an_event_counts_as_late_when_some_of_its_windows_have_closed() -> None:
    app = fs.App("part")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(inputs, sink=[out])
    async def count(stream: fs.Stream[str]) -> Any:
        async for window in stream.hopping(10, 5, late="dead_letter").count():
            yield f"{window.start:g}:{window.value}"

    rig = await told(app, ("a", 3), ("b", 12), ("c", 8), ("d", 1), ("e", 30))
    assert [value for _, value in rig.told("out")] == [b"-5:1", b"0:1", b"5:2", b"10:1"]
    assert [value for _, value in rig.told(app.dead_letters)] == [b"d"]
    assert rig.counts.late == 2
    await rig.crash()


@pytest.mark.parametrize("late", ["drop", "dead_letter", "update"])
async def test_S11_a_late_delete_of_windows_is_as_any_late_write(
    late: Literal["drop", "dead_letter", "update"],
) -> None:
    app = fs.App("part")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int).tumbling(10, expires=100, grace=0, late=late)

    @app.agent(inputs)
    async def count(stream: fs.Stream[str]) -> None:
        async for key, value in stream.items():
            if value == "delete":
                del counts[key]
            else:
                counts[key] += 1

    rig = await told(app, ("+", 3), ("+", 22), ("delete", 5), ("delete", 23))
    left = [row for row, _ in rig.rows("counts") if row.startswith(b"k@")]
    assert len(left) == (0 if late == "update" else 1)
    assert rig.counts.late == (0 if late == "update" else 1)
    letters = [value for _, value in rig.told(app.dead_letters)]
    assert letters == ([b"delete"] if late == "dead_letter" else [])
    await rig.crash()
