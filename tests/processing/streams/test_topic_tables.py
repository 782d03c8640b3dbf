"""Tables of topics, and the records that do not fit them."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from tests.processing.conftest import Kit


@pytest.mark.parametrize("history", [None, 10])
@pytest.mark.parametrize(
    ("key", "value", "what"), [("ann", b"old", "does not decode"), (None, b"5", "needs a key")]
)
def test_S11_it_stops_the_worker_unless_the_table_is_told_what_else(
    history: float | None, key: str | None, value: bytes, what: str
) -> None:
    app = fs.App("ages")
    names = app.topic("names", key_type=str, value_type=int, partitions=1)
    app.table(names, name="ages", history=history)
    anything = fs.App("other").topic("names", key_type=str, value_type=bytes)
    remedy = r"app\.table\(\.\.\., on_error='skip' or 'dead_letter'\) passes over such records"
    with app.test_context() as context, pytest.raises(fs.AgentFailed, match=f"{what}.*{remedy}"):
        context.topic(anything).send(value, key=key)


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


def test_a_record_in_a_topic_of_the_app_s_own_stops_it_with_what_can_be_done() -> None:
    app = fs.App("tags")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    app.SetTable("tags", value_type=int, partitions=1, start_manager=True)

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    anything = fs.App("other").topic("tags-tags-setmanager", key_type=str, value_type=bytes)
    remedy = "`flowstream groups reset-offsets` takes the app past the record"
    with app.test_context() as context, pytest.raises(fs.AgentFailed, match=remedy):
        context.topic(anything).send(b"nonsense", key="a")
