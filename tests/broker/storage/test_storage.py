"""Both storages keep the same promises; the one in memory breaks what was not promised."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowstream.broker.doors import (
    Append,
    Flush,
    MakeDirectory,
    Operation,
    Overwrite,
    Remove,
    Rename,
    Replace,
    Truncate,
)
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.memory import SECTOR, Crashed, MemoryStorage
from flowstream.errors import StorageError


@pytest.fixture(params=["files", "memory"])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[FileStorage | MemoryStorage]:
    if request.param == "memory":
        yield MemoryStorage()
        return
    files = FileStorage(tmp_path, open_files=2)
    yield files
    files.close()


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
    with pytest.raises(StorageError, match="d: Directory not empty"):
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
