"""X3: who watches rows and does not look holds no more of them than were asked for."""

from __future__ import annotations

from flowstream.processing.running.committed import MOST_ROWS, Watch


async def test_X3_a_watch_that_is_over_keeps_nothing() -> None:
    watch = Watch(b"", None)
    watch.put({b"%d" % n: b"row" for n in range(MOST_ROWS + 1)})
    assert watch.is_over
    watch.put({b"late": b"row"})
    assert not watch._changed
    assert await watch.take() == {}


async def test_a_watch_gives_the_newest_of_each_row() -> None:
    watch = Watch(b"a", b"c")
    watch.put({b"a": b"1", b"c": b"1"})
    watch.put({b"a": b"2", b"b": None})
    assert await watch.take() == {b"a": b"2", b"b": None}
