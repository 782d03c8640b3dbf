"""The overlay: which layer answers, and how rows move down."""

from __future__ import annotations

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
    assert overlay.merged() == {b"k": 3}
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
    assert overlay.merged() == {}


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
