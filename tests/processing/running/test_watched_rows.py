"""X3: who watches rows and does not look holds no more of them than were asked for."""

from __future__ import annotations

import msgspec

from flowstream.processing.queries.asked import Changed, Frames, decode_changed, framed
from flowstream.processing.running.committed import MOST_BYTES, MOST_ROWS, Watch


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


async def test_X3_what_waits_for_a_watcher_is_bounded_by_its_bytes() -> None:
    watch, row = Watch(b"", None), b"x" * (MOST_BYTES // 100)
    for _ in range(3):  # the newest of each counts, and only until it is taken
        for _ in range(3):
            watch.put({b"%d" % n: row[:-2] for n in range(100)})
        told = Changed(list((await watch.take()).items()))
        (frame,) = Frames().feed(framed(msgspec.msgpack.encode(told)))
        assert decode_changed(frame) == told
    assert not watch.is_over
    watch.put({b"%d" % n: row for n in range(100)})
    watch.put({b"one more": row})
    assert watch.is_over
    assert not watch._changed


async def test_X3_the_largest_change_that_is_told_fits_a_message() -> None:
    watch, row = Watch(b"", None), b"x" * (MOST_BYTES // MOST_ROWS - 8)
    watch.put({b"%d" % n: row for n in range(MOST_ROWS)})
    assert not watch.is_over
    told = Changed(list((await watch.take()).items()))
    (frame,) = Frames().feed(framed(msgspec.msgpack.encode(told)))
    assert decode_changed(frame) == told
