"""The overlay: which layer answers, and how rows move down."""

from __future__ import annotations

import random

import pytest

from flowstream.state.overlay import DELETED, MISSING, Overlay


def test_the_newest_layer_answers() -> None:
    overlay = Overlay()
    assert overlay.find(b"k") is MISSING
    overlay.open.update({b"k": 1})
    assert overlay.close() == {b"k": 1}
    assert overlay.find(b"k") == 1
    overlay.open.update({b"k": DELETED})
    assert overlay.find(b"k") is DELETED
    overlay.defer({b"k": 3})
    assert overlay.find(b"k") == 3
    assert overlay.between({}) == {b"k": 3}
    assert overlay.between({b"k": 4}) == {b"k": 4}
    overlay.settle()
    assert overlay.find(b"k") is DELETED


def test_one_epoch_commits_at_a_time() -> None:
    overlay = Overlay()
    overlay.open.update({b"k": 1})
    overlay.close()
    with pytest.raises(AssertionError):
        overlay.close()
    overlay.committed()
    assert overlay.close() == {}


def test_drop_forgets_every_layer() -> None:
    overlay = Overlay()
    overlay.open.update({b"a": 1})
    overlay.close()
    overlay.open.update({b"b": 1})
    overlay.defer({b"c": 1})
    overlay.drop()
    assert overlay.between({}) == {}


def test_S8_an_older_unit_that_merges_does_not_hide_a_newer_ones_equal_row() -> None:
    """Empty rows (members of sets), single bytes and deletions are one object each."""
    overlay = Overlay()
    added: dict[bytes, object] = {b"member": b""}
    removed: dict[bytes, object] = {b"member": DELETED}
    added_again: dict[bytes, object] = {b"member": b""}
    for rows in (added, removed, added_again):
        overlay.defer(rows)
    for rows in (added, removed):
        overlay.open.update(rows)
        overlay.undefer(rows)
        assert overlay.find(b"member") == b""
    overlay.open.update(added_again)
    overlay.undefer(added_again)
    assert overlay.find(b"member") == b""
    assert overlay.pending == {}


class Counted(bytes):
    """A key that counts how often it is looked at in order."""

    compared = 0

    def __lt__(self, other: bytes) -> bool:
        Counted.compared += 1
        return bytes.__lt__(self, other)

    def __ge__(self, other: bytes) -> bool:
        Counted.compared += 1
        return bytes.__ge__(self, other)


def test_a_short_walk_costs_no_more_in_a_large_epoch() -> None:
    """It looked at every key that was not committed yet."""
    overlay = Overlay()
    for epoch in range(2):
        overlay.open.update({Counted(b"%d-%05d" % (epoch, n)): n for n in range(5_000)})
        overlay.between({}, b"1")
        if not epoch:
            overlay.close()
    Counted.compared = 0
    for n in range(10):
        overlay.open.update({Counted(b"1-02500-%d" % n): n})
        assert list(overlay.between({}, b"1-02500", b"1-02501").values())[1:] == [*range(n + 1)]
    assert Counted.compared < 1_000


@pytest.mark.parametrize("seed", range(50))
def test_a_walk_sees_the_newest_row_of_each_key(seed: int) -> None:
    rng, overlay = random.Random(seed), Overlay()
    layers: list[dict[bytes, object]] = [{}, {}, {}]

    def rows(most: int) -> dict[bytes, object]:
        return {b"%03d" % rng.randrange(300): rng.random() for _ in range(rng.randrange(most))}

    for _ in range(100):
        step = rng.choice(("write", "write", "many", "walk", "walk", "defer", "settle", "close",
                           "commit", "drop"))  # fmt: skip
        if step in ("write", "many"):
            written = rows(5 if step == "write" else 200)
            overlay.open.update(written)
            layers[1].update(written)
        elif step == "defer":
            written = rows(5)
            overlay.defer(written)
            layers[2].update(written)
        elif step == "settle":
            overlay.settle()
            layers[2] = {}
        elif step == "close" and not layers[0]:
            overlay.close()
            layers[:2] = layers[1], {}
        elif step == "commit":
            overlay.committed()
            layers[0] = {}
        elif step == "drop" and rng.random() < 0.1:
            overlay.drop()
            layers = [{}, {}, {}]
        start, stop = b"%03d" % rng.randrange(300), rng.choice((None, b"%03d" % rng.randrange(300)))
        unit = rows(3)
        newest = {**layers[0], **layers[1], **layers[2], **unit}
        wanted = {k: row for k, row in newest.items() if k >= start and (stop is None or k < stop)}
        assert overlay.between(unit, start, stop) == wanted
