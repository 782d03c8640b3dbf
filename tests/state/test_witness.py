"""Views that remember what their unit has read."""

from __future__ import annotations

from flowstream.processing.values.codecs import codec_of
from flowstream.state.memory import MemoryStore
from flowstream.state.table import TablePartition
from flowstream.state.witness import Witness


def write(partition: TablePartition, value: int) -> None:
    """Another unit completes meanwhile."""
    other = Witness(partition)
    other.set(b"k", value)
    other.publish()


def test_S7_a_row_that_is_what_it_was_has_misled_nobody() -> None:
    partition = TablePartition("t", 0, MemoryStore(), codec_of(int))
    write(partition, 1)
    view = Witness(partition)
    assert view.get(b"k") == 1
    write(partition, 2)
    assert not view.holds()
    write(partition, 1)
    assert view.holds()


def test_S7_a_row_that_was_another_one_in_between_has_misled_who_read_it_then() -> None:
    partition = TablePartition("t", 0, MemoryStore(), codec_of(int))
    write(partition, 1)
    view = Witness(partition)
    assert view.get(b"k") == 1
    write(partition, 2)
    assert view.get(b"k") == 2
    write(partition, 1)
    assert not view.holds(), "no state of the table is both"
    view.clear()
    assert view.get(b"k") == 1
    assert view.holds()
