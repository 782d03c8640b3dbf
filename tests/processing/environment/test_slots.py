"""Slots: one per worker, an identity that stays, and stores that are found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowstream.processing.environment.slots import SlotError, stores_on_disk, take_slot


def test_T11_each_worker_has_a_slot_of_its_own(tmp_path: Path) -> None:
    first, second = take_slot(tmp_path, "app"), take_slot(tmp_path, "app")
    assert [first.number, second.number] == [0, 1]
    assert first.uuid != second.uuid
    first.release()
    first.release()
    again = take_slot(tmp_path, "app")
    assert (again.number, again.uuid) == (0, first.uuid)


def test_stores_of_a_table_are_found_in_every_slot(tmp_path: Path) -> None:
    slot = take_slot(tmp_path, "app")
    slot.store_path("t", 3).mkdir()
    slot.store_path("t-other", 1).mkdir()
    assert stores_on_disk(tmp_path, "app", "t") == [slot.path / "t-3"]
    assert stores_on_disk(tmp_path, "app", "none") == []


def test_a_damaged_slot_is_named(tmp_path: Path) -> None:
    slot = take_slot(tmp_path, "app")
    (slot.path / "uuid").write_text("?")
    slot.release()
    with pytest.raises(SlotError, match="uuid is damaged"):
        take_slot(tmp_path, "app")


def test_an_unusable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SlotError, match=r"cannot use .*state"):
        take_slot(tmp_path, "app")
