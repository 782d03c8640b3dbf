"""The overlay: which layer answers, and how rows move down."""

from __future__ import annotations

import pytest

from flowstream.state.overlay import DELETED, MISSING, Overlay


def test_the_newest_layer_answers() -> None:
    overlay = Overlay()
    assert overlay.find(b"k") is MISSING
    overlay.merge({b"k": 1})
    assert overlay.close() == {b"k": 1}
    assert overlay.find(b"k") == 1
    overlay.merge({b"k": DELETED})
    assert overlay.find(b"k") is DELETED
    overlay.defer({b"k": 3})
    assert overlay.find(b"k") == 3
    assert overlay.merged() == {b"k": 3}
    overlay.settle()
    assert overlay.find(b"k") is DELETED


def test_one_epoch_commits_at_a_time() -> None:
    overlay = Overlay()
    overlay.merge({b"k": 1})
    overlay.close()
    with pytest.raises(AssertionError):
        overlay.close()
    overlay.committed()
    assert overlay.close() == {}


def test_drop_forgets_every_layer() -> None:
    overlay = Overlay()
    overlay.merge({b"a": 1})
    overlay.close()
    overlay.merge({b"b": 1})
    overlay.defer({b"c": 1})
    overlay.drop()
    assert overlay.merged() == {}
