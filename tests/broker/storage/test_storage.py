"""Both storages keep the same promises; the one in memory breaks what was not promised."""

from __future__ import annotations

import errno
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowstream.broker.doors import (
    Append,
    Flush,
    MakeDirectory,
    Operation,
    Overwrite,
    Put,
    Remove,
    Rename,
    Replace,
    Sync,
    Truncate,
)
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.memory import SECTOR, Crashed, MemoryStorage
from flowstream.errors import StorageError


def content(storage: FileStorage | MemoryStorage, path: str) -> bytes:
    return bytes(storage.read(path, 0, 1 << 20))


def test_operations_are_performed_in_order(storage: FileStorage | MemoryStorage) -> None:
    operations: list[Operation] = [
        MakeDirectory("a/b"),
        Append("a/b/x", (b"one", memoryview(b"two"))),
        Append("a/b/x", (b"three",)),
        Append("a/b/y", ()),
        Replace("a/z", b"zz"),
        Truncate("a/b/x", 5),
        Append("a/b/x", (bytearray(b"!"),)),
        Rename("a/b/y", "a/b/w"),
        Flush("a/b/x"),
        Flush("a/absent"),
    ]
    assert storage.perform(operations) == {"a/b/w"}
    assert content(storage, "a/b/x") == b"onetw!"
    assert (storage.size("a/b/w"), storage.size("a/b/y")) == (0, None)
    assert storage.names("a/b") == ["w", "x"]
    assert storage.names("a") == ["b", "z"]
    assert storage.names("nowhere") == []
    assert bytes(storage.read("a/b/x", 4, 100)) == b"w!"
    assert bytes(storage.read("a/b/x", 100, 1)) == b""


def test_removals_and_renames_may_be_repeated(storage: FileStorage | MemoryStorage) -> None:
    storage.perform([MakeDirectory("d"), MakeDirectory("d"), Append("d/x", (b"1",))])
    assert storage.perform([Rename("d", "e"), Rename("d", "e"), Remove("absent")]) == set()
    assert content(storage, "e/x") == b"1"
    storage.perform([Remove("e"), Remove("e")])
    assert storage.names("") == []
    with pytest.raises(StorageError, match="e/x"):
        storage.read("e/x", 0, 1)
    with pytest.raises(StorageError, match="e/x"):
        storage.perform([Append("e/x", (b"1",))])


def test_a_directory_is_not_renamed_to_one_that_holds_something(
    storage: FileStorage | MemoryStorage,
) -> None:
    storage.perform([MakeDirectory("d"), MakeDirectory("e"), Append("d/x", (b"1",))])
    storage.perform([Rename("d", "e"), MakeDirectory("d"), Append("d/y", (b"2",))])
    with pytest.raises(StorageError, match="Directory not empty"):
        storage.perform([Rename("d", "e")])
    assert (content(storage, "d/y"), content(storage, "e/x")) == (b"2", b"1")


def test_what_a_crash_brings_back_is_in_the_renamed_directory() -> None:
    for seed in range(20):
        twin = MemoryStorage()
        twin.perform([MakeDirectory("d"), Append("d/x", (b"1",)), Append("d/y", (b"2",))])
        twin.sync(["d/x", "d/y"])
        twin.perform([Remove("d/x"), Rename("d", "e"), MakeDirectory("d")])
        twin.crash(random.Random(seed))
        assert twin.names("d") == []
        assert set(twin.names("e")) in ({"y"}, {"x", "y"})


def test_D1_what_is_put_gets_its_name_with_the_sync(storage: FileStorage | MemoryStorage) -> None:
    storage.perform([MakeDirectory("d"), Replace("d/x", b"old")])
    unsynced = storage.perform([Put("d/x", b"new"), Put("d/y", b"1"), Put("d/y", b"2")])
    assert unsynced == {"d/x", "d/y"}
    assert (content(storage, "d/x"), storage.size("d/y")) == (b"old", None)
    storage.sync(unsynced)
    assert (content(storage, "d/x"), content(storage, "d/y")) == (b"new", b"2")
    assert storage.names("d") == ["x", "y"]
    storage.sync(unsynced)


def test_what_was_put_is_replaced_moved_and_removed(storage: FileStorage | MemoryStorage) -> None:
    storage.perform([MakeDirectory("d"), Put("d/x", b"1"), Replace("d/x", b"2"), Put("d/y", b"3")])
    storage.sync(("d/x",))
    assert content(storage, "d/x") == b"2"
    storage.perform([Rename("d", "e")])
    assert (content(storage, "e/y"), storage.names("e")) == (b"3", ["x", "y"])
    storage.perform([Put("e/y", b"4"), Flush("e/y")])
    assert content(storage, "e/y") == b"4"
    storage.perform([Put("e/y", b"5"), Remove("e/y")])
    storage.sync(("e/y",))
    assert storage.names("e") == ["x"]


def test_a_name_that_was_put_may_be_used_again(storage: FileStorage | MemoryStorage) -> None:
    before = storage.perform([MakeDirectory("d"), Put("d/x", b"before")])
    storage.perform([Rename("d", "gone"), Remove("gone")])
    after = storage.perform([MakeDirectory("d"), Put("d/x", b"after")])
    storage.sync(before | after)
    assert content(storage, "d/x") == b"after"


def test_sync_counts_a_path_among_the_unsynced(storage: FileStorage | MemoryStorage) -> None:
    storage.perform([Append("x", (b"1",))])
    assert storage.perform([Sync("x")]) == {"x"}
    storage.sync(storage.perform([Sync("x"), Sync("absent")]) | {"absent"})
    assert storage.size("absent") is None


def test_D1_a_crash_shows_the_old_content_or_the_new() -> None:
    """Whatever operation and sync it comes before."""
    seen = set()
    for at in range(12):
        for seed in range(8):
            disk = MemoryStorage()
            disk.perform([MakeDirectory("d"), Replace("d/x", b"old")])
            disk.crash_at(at)
            try:
                disk.sync(disk.perform([Put("d/x", b"new"), Append("d/y", (b"1",))]))
            except Crashed:
                pass
            else:
                assert content(disk, "d/x") == b"new"
            disk.crash(random.Random(seed))
            seen.add(content(disk, "d/x"))
    assert seen == {b"old", b"new"}


def test_D4_a_new_directory_is_found_after_a_power_cut_once_a_file_in_it_was_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    storage = FileStorage(tmp_path)
    unsynced = storage.perform([MakeDirectory("d"), Append("d/x", ()), Put("d/y", b"1")])
    assert synced == []
    storage.sync(unsynced)
    assert sorted(synced) == [str(tmp_path), f"{tmp_path}/d", f"{tmp_path}/d/y.1.tmp"]
    synced.clear()
    storage.sync(storage.perform([Append("d/x", (b"1",))]))
    assert synced == []
    storage.close()


def test_D5_an_empty_file_is_there_before_what_comes_after_it(tmp_path: Path) -> None:
    """Retention begins a segment, then deletes the one before: a log never has none."""
    storage = FileStorage(tmp_path)
    storage.sync(storage.perform([MakeDirectory("d"), Append("d/1.log", ())]))
    storage.perform([Append("d/2.log", ()), Rename("d/1.log", "d/1.deleted")])
    assert sorted(os.listdir(tmp_path / "d")) == ["1.deleted", "2.log"]
    storage.close()


def test_many_directories_move_with_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = FileStorage(tmp_path)
    storage.perform([MakeDirectory(f"d{at}") for at in range(9)])
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    moves: list[Operation] = [Rename(f"d{at}", f"gone{at}") for at in range(9)]
    storage.perform([*moves, *(Remove(f"gone{at}") for at in range(9))])
    assert len(synced) == 1
    assert storage.names("") == []
    storage.close()


def test_directories_may_be_deleted_in_the_background(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as background:
        storage = FileStorage(tmp_path, background=background)
        storage.sync(storage.perform([MakeDirectory("d"), Append("d/x", (b"1",))]))
        storage.perform([Rename("d", "gone"), Remove("gone")])
    assert storage.names("") == []
    storage.perform([])
    storage.close()


def test_more_files_than_descriptors(storage: FileStorage | MemoryStorage) -> None:
    for turn in range(3):
        unsynced = storage.perform([Append(f"f{at}", (b"%d" % turn,)) for at in range(9)])
        storage.sync(unsynced)
        assert unsynced == {f"f{at}" for at in range(9)}
    assert [content(storage, f"f{at}") for at in range(9)] == [b"012"] * 9


def test_syncing_what_is_gone_is_fine(storage: FileStorage | MemoryStorage) -> None:
    unsynced = storage.perform([MakeDirectory("d"), Append("d/x", (b"1",)), Append("y", (b"1",))])
    storage.perform([Remove("d")])
    storage.sync(unsynced)


def test_appends_of_one_turn_are_one_system_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    writev = os.writev

    def counted(descriptor: int, buffers: list[bytes]) -> int:
        calls.append(len(buffers))
        return writev(descriptor, buffers)

    monkeypatch.setattr(os, "writev", counted)
    storage = FileStorage(tmp_path)
    storage.perform([Append("x", (b"1", b"2")), Append("x", (b"3",)), Append("y", (b"4",))])
    storage.perform([Append("x", (b"5",))] * 3000)
    assert calls == [3, 1, 1024, 1024, 952]
    assert content(storage, "x") == b"123" + b"5" * 3000
    storage.close()


def test_a_write_that_the_disk_takes_in_part_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, buffers: writev(fd, [bytes(buffers[0][:2])]))
    storage = FileStorage(tmp_path)
    storage.perform([Append("x", (b"hello", b"world"))])
    assert content(storage, "x") == b"helloworld"
    storage.close()


REFUSED_CALLS = ("open", "mkdir", "writev", "pwrite", "write", "fdatasync", "fsync", "rename", "ftruncate", "unlink")  # fmt: skip # noqa: E501


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("call", REFUSED_CALLS)
def test_D2_a_refusal_names_the_path_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """Whatever system call the disk refuses."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    if call == "write":
        writev = os.writev
        monkeypatch.setattr(os, "writev", lambda fd, buffers: writev(fd, [buffers[0][:1]]))
    storage = FileStorage(tmp_path)
    operations: list[Operation] = [
        MakeDirectory("orders-0"),
        Append("orders-0/x", (b"12",)),
        Overwrite("orders-0/x", 0, b"2"),
        Truncate("orders-0/x", 1),
        Flush("orders-0/x"),
        Replace("orders-0/y", b"1"),
        Rename("orders-0/y", "orders-0/z"),
        Remove("orders-0/z"),
    ]
    with pytest.raises(StorageError, match=r"(\.|orders-0.*): .*; the disk"):
        storage.sync(storage.perform(operations))
    storage.close()


def test_overwriting_changes_the_middle_and_may_extend(
    storage: FileStorage | MemoryStorage,
) -> None:
    storage.perform([Append("x", (b"hello",)), Overwrite("x", 1, b"E"), Append("x", (b"!",))])
    assert storage.perform([Overwrite("x", 5, b"? yes"), Overwrite("y", 2, b"new")]) == {"x", "y"}
    assert content(storage, "x") == b"hEllo? yes"
    assert content(storage, "y") == b"\0\0new"
    storage.sync({"x", "y"})


def test_a_crash_leaves_what_was_overwritten_old_or_new_sector_by_sector() -> None:
    found = set()
    for seed in range(60):
        storage = MemoryStorage()
        storage.perform([Append("x", (b"a" * SECTOR * 3,))])
        storage.sync({"x"})
        storage.perform([Overwrite("x", 0, b"b" * SECTOR * 2), Append("x", (b"c" * 10,))])
        storage.crash(random.Random(seed))
        data = content(storage, "x")
        assert data[2 * SECTOR : 3 * SECTOR] == b"a" * SECTOR
        assert len(data) >= 3 * SECTOR
        found.add((data[0:1], data[SECTOR : SECTOR + 1]))
    assert {(b"a", b"b"), (b"b", b"a")} < found


def test_reads_and_appends_go_on_while_threads_sync(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path, open_files=2)
    paths = {f"f{at}" for at in range(6)}
    storage.perform([Append(path, (b"0",)) for path in sorted(paths)])
    failures: list[StorageError] = []

    def sync() -> None:
        try:
            for _ in range(20):
                storage.sync(paths)
        except StorageError as error:
            failures.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    for _ in range(200):
        storage.perform([Append(path, (b"1",)) for path in sorted(paths)])
        assert content(storage, "f3")[:1] == b"0"
    thread.join()
    assert failures == []
    assert content(storage, "f5") == b"0" + b"1" * 200
    storage.close()


def test_D1_a_crash_shows_the_old_or_the_new_file() -> None:
    for seed in range(30):
        storage = MemoryStorage()
        storage.perform([Replace("x", b"old"), Replace("x", b"new"), Append("x", (b"er",))])
        storage.crash(random.Random(seed))
        assert content(storage, "x")[:3] == b"new"


def test_a_crash_forgets_what_was_not_synced() -> None:
    found = set()
    for seed in range(60):
        storage = MemoryStorage()
        storage.perform([MakeDirectory("d"), Append("d/x", (b"synced",))])
        storage.sync({"d/x"})
        storage.perform([Append("d/x", (b"LOST",)), Append("d/y", (b"Y",)), Remove("d/none")])
        storage.crash(random.Random(seed))
        data = content(storage, "d/x")
        assert data.startswith(b"synced")
        assert len(data) <= 10
        found.add((data in (b"syncedLOST"[: len(data)],), storage.size("d/y")))
    assert len(found) > 3, "torn and whole, with and without the new file"


def test_a_crash_at_an_operation_and_faults() -> None:
    storage = MemoryStorage()
    storage.crash_at(1)
    with pytest.raises(Crashed):
        storage.perform([Append("x", (b"1",)), Append("x", (b"2",))])
    assert content(storage, "x") == b"1"
    storage.heal()
    storage.fail("x*", errno.EIO, after=1)
    storage.perform([Append("x", (b"2",)), Append("y", (b"2",))])
    with pytest.raises(StorageError, match="x: Input/output error"):
        storage.sync({"x"})
    storage.flip("y", 0)
    assert content(storage, "y") == bytes([ord("2") ^ 0xFF])


def test_the_room_on_the_disk_is_told(storage: FileStorage | MemoryStorage) -> None:
    space = storage.space()
    assert space.directory
    assert 0 < space.usable_bytes <= space.total_bytes


def test_there_is_no_room_where_there_is_no_directory(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "gone")
    with pytest.raises(StorageError, match="gone"):
        storage.space()
    storage.close()
