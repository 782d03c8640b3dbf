"""Tables of topics, and the records that do not fit them."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from tests.processing.conftest import Kit


@pytest.mark.parametrize("history", [None, 10])
async def test_a_record_that_does_not_decode_leaves_the_row_where_its_table_passes_over(
    kit: Kit, name: str, history: float | None
) -> None:
    app = kit.app(name)
    names = app.topic(f"{name}-names", key_type=str, value_type=int, partitions=1)
    ages = app.table(names, name="ages", history=history, on_error="dead_letter")
    other = kit.app(f"{name}-other")
    anything = other.topic(names.name, value_type=bytes, partitions=1)
    seen = app.topic(f"{name}-seen", value_type=int, partitions=1)

    @app.agent(ages.changes, sink=[seen])
    async def follow(stream: fs.Stream[int]) -> Any:
        async for age in stream:
            yield age

    await kit.create(app)
    async with other:
        for key, value in ((b"ann", b"5"), (b"ann", b"old"), (None, b"6"), (b"bob", b"7")):
            await anything.send(key=key, value=value)
    async with kit.running(app) as worker:
        await kit.until(kit.committed(app, names.name, 4))
        assert worker.counts.dead_letters == 2
        await kit.until(kit.count(seen.name, 2))
    assert sorted(map(repr, await kit.values(seen.name))) == ["b'5'", "b'7'"]
    assert await kit.values(app.dead_letters) == [b"old", b"6"]
