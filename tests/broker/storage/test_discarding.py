"""Directories that nobody needs any more, and threads that make others: the loop waits for neither
(X4).
"""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowstream.broker.doors import Append, Discard, Flush, MakeDirectory, Place, Put, Settle
from flowstream.broker.storage.disk import Disk
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.journaled import JournaledStorage
from flowstream.broker.storage.memory import MemoryStorage


def content(storage: FileStorage | MemoryStorage, path: str) -> bytes:
    return bytes(storage.read(path, 0, 1 << 20))


def test_what_was_discarded_is_gone_and_its_name_is_another_s(
    storage: FileStorage | MemoryStorage,
) -> None:
    before = storage.perform([MakeDirectory("d"), Append("d/x", (b"1",)), Put("d/y", b"before")])
    storage.sync(before)
    before |= storage.perform([Append("d/x", (b"2",)), Put("d/z", b"before")])
    assert storage.perform([Append("d/x", (b"3",)), Discard("d", "gone")]) == set()
    assert storage.names("") == []
    after = storage.perform([MakeDirectory("d"), Put("d/y", b"after"), Append("d/x", ())])
    storage.sync(before | after)
    assert storage.names("d") == ["x", "y"]
    assert (storage.size("d/x"), content(storage, "d/y")) == (0, b"after")
    storage.sync(storage.perform([Discard("d", "gone too"), Discard("never made", "g")]))
    storage.perform([Discard("d", "once more"), MakeDirectory("d"), Append("d/x", (b"4",))])
    assert (storage.names(""), storage.names("d")) == (["d"], ["x"])


def test_D5_what_was_discarded_comes_back_whole_or_not_and_never_as_another() -> None:
    seen = set()
    for seed in range(20):
        twin = MemoryStorage()
        twin.sync(twin.perform([MakeDirectory("d"), Append("d/x", (b"old",))]))
        twin.perform([Discard("d", "gone")])
        twin.crash(random.Random(seed))
        seen.add((*twin.names("d"), *(f"gone/{name}" for name in twin.names("gone"))))
        twin.perform([Discard("d", "gone"), MakeDirectory("d"), Append("d/y", (b"new",))])
        twin.crash(random.Random(seed))
        assert set(twin.names("d")) <= {"y"}
    assert seen == {("x",), ("gone/x",)}


def test_X4_a_directory_that_leaves_waits_for_nobody(tmp_path: Path) -> None:
    """Its name is free when another wants it, and a clean stop leaves none under its old name."""
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as background:
        storage = FileStorage(tmp_path, background=background)
        made = [MakeDirectory(f"d{at}") for at in range(3)]
        storage.sync(storage.perform([*made, *(Append(f"d{at}/x", (b"old",)) for at in range(3))]))
        background.submit(go_on.wait)
        storage.perform([Discard(f"d{at}", f"gone{at}") for at in range(3)])
        assert storage.names("") == ["d0", "d1", "d2"]
        storage.perform([MakeDirectory("d1"), Append("d1/y", (b"new",))])
        assert storage.names("") == ["d0", "d1", "d2", "gone1"]
        assert (storage.names("d1"), storage.names("gone1")) == (["y"], ["x"])
        storage.perform([Settle()])
        assert storage.names("") == ["d1", "gone0", "gone1", "gone2"]
        go_on.set()
    assert storage.names("") == ["d1", "gone0", "gone2"]


def test_D7_what_was_written_to_says_whose_it_was_until_it_is_gone(tmp_path: Path) -> None:
    """Under durability `os` nothing else may have been done yet: a start after a kill would keep it
    aside, as a directory of nobody.
    """
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as background:
        storage = FileStorage(tmp_path, background=background, places=True)
        background.submit(go_on.wait)
        for name in ("d", "e"):
            storage.perform([MakeDirectory(name), Put(f"{name}/whose", b"mine")])
            storage.perform([Append(f"{name}/log", ())])
        storage.perform([Append("d/log", (b"1",))])
        storage.perform([Place(["d/whose", "e/whose"])])
        storage.perform([Discard("d", "gone d"), Discard("e", "gone e")])
        assert storage.names("") == ["d"]
        assert storage.names("d") == ["log", "whose"]
        go_on.set()
    assert storage.names("") == []
    storage.close()


def test_D4_a_name_is_used_again_when_the_one_before_is_durably_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves a new topic with the directory of an old one, and a start refuses."""
    go_on, background = threading.Event(), ThreadPoolExecutor(1)
    storage = FileStorage(tmp_path, background=background)
    storage.sync(storage.perform([MakeDirectory("d"), Append("d/x", (b"old",))]))
    background.submit(go_on.wait)
    steps: list[str] = []
    rename, fsync = os.rename, os.fsync

    def renamed(source: str, target: str) -> None:
        steps.append("renamed")
        rename(source, target)

    def synced(descriptor: int) -> None:
        steps.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "fsync", synced)
    storage.perform([Discard("d", "gone"), MakeDirectory("d"), Append("d/y", (b"new",))])
    assert steps == ["renamed", tmp_path.name]
    go_on.set()
    background.shutdown()
    storage.close()


def test_D2_after_a_failure_nothing_is_renamed_or_waited_for(tmp_path: Path) -> None:
    """The thread that renames may hang in a disk that does not answer."""
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as background:
        storage = FileStorage(tmp_path, background=background)
        storage.sync(storage.perform([MakeDirectory("d"), Append("d/x", (b"old",))]))
        background.submit(go_on.wait)
        storage.perform([Discard("d", "gone")])
        storage.close()
        assert storage.names("") == ["d"]
        go_on.set()


def test_X4_the_loop_goes_on_while_a_thread_makes_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is busy takes milliseconds for each of ten thousand."""
    background = ThreadPoolExecutor(1)
    storage = FileStorage(tmp_path, background=background)
    storage.perform([Append("open", (b"1",))])
    began, go_on = threading.Event(), threading.Event()
    makedirs = os.makedirs

    def slow(path: str, exist_ok: bool) -> None:
        began.set()
        assert go_on.wait(10)
        makedirs(path, exist_ok=exist_ok)

    monkeypatch.setattr(os, "makedirs", slow)
    unsynced = storage.perform([MakeDirectory("d"), Put("d/x", b"1"), Append("d/y", ())])
    thread = threading.Thread(target=storage.sync, args=(unsynced,))
    thread.start()
    assert began.wait(10)
    more = storage.perform([Append("open", (b"2",)), MakeDirectory("e"), Put("e/x", b"1")])
    more |= storage.perform([Append("e/y", ()), Discard("e", "gone"), Append("open", (b"3",))])
    go_on.set()
    thread.join()
    storage.sync(more)
    background.shutdown()
    assert (storage.names(""), storage.names("d")) == (["d", "open"], ["x", "y"])
    assert content(storage, "open") == b"123"
    storage.close()


def test_X4_a_flush_does_not_do_what_waits_for_others(tmp_path: Path) -> None:
    """Under durability `os` a deletion waited until ten thousand new partitions were on disk."""
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as background:
        storage = FileStorage(tmp_path, background=background, places=True)
        background.submit(go_on.wait)
        storage.perform([MakeDirectory("d"), Put("d/x", b"1"), Append("log", (b"1",))])
        storage.perform([Flush("log")])
        assert storage.names("") == ["log"]
        go_on.set()
    assert storage.names("d") == ["x"]
    storage.close()


def test_D7_a_directory_that_was_written_to_says_whose_it_is_when_that_is_wanted(
    storage: FileStorage | MemoryStorage,
) -> None:
    """And nothing else is done of what waits."""
    for name in ("d", "e"):
        storage.perform([MakeDirectory(name), Put(f"{name}/whose", b"mine")])
        storage.perform([Put(f"{name}/more", b"1"), Append(f"{name}/log", ())])
    storage.perform([Append("d/log", (b"1",))])
    storage.perform([Place(["d/whose", "e/whose", "absent/whose"])])
    assert content(storage, "d/whose") == b"mine"
    assert (storage.size("d/more"), storage.size("e/whose")) == (None, None)
    storage.sync({"d/whose", "d/more", "e/whose", "e/more", "e/log"})
    assert storage.names("d") == storage.names("e") == ["log", "more", "whose"]


def test_what_was_discarded_has_no_size_and_leaves_nothing_in_the_journal_s_account(
    tmp_path: Path,
) -> None:
    """A sync that comes before the directory is gone counted its files among the durable ones, for
    ever.
    """
    go_on = threading.Event()
    with ThreadPoolExecutor(1) as background:
        files = FileStorage(tmp_path, background=background)
        storage = JournaledStorage(files, files, b"saltsalt")
        unsynced = storage.perform([MakeDirectory("d"), Append("d/x", (b"1",))])
        unsynced |= storage.perform([Append("kept", (b"1",))])
        background.submit(go_on.wait)
        storage.perform([Discard("d", "gone")])
        assert files.names("d") == ["x"]
        assert files.size("d/x") is None
        storage.sync(unsynced)
        assert list(storage._ends) == ["kept"]
        go_on.set()
    files.close()


def test_D2_what_fails_in_the_background_is_told_at_once(tmp_path: Path) -> None:
    told: list[BaseException] = []
    disk = Disk(tmp_path, fsync=False)
    disk.watch(told.append)
    disk.door.perform([MakeDirectory("d"), Put("d/x", b"1")])
    (tmp_path / "e").write_bytes(b"")
    disk.door.perform([MakeDirectory("e"), Put("e/x", b"1")])
    disk._removing.shutdown()
    disk.close()
    assert [str(each).partition(":")[0] for each in told] == ["e"]
