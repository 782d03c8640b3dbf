"""Hundreds of small files made durable with their whole file system, and what a power cut may find
at any moment of it: the disk of these tests keeps the account of what each system call made
durable.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstream.broker.doors import Append, Discard, MakeDirectory, Operation, Put, Rename, Replace
from flowstream.broker.storage import whole
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.whole import LINUX_SINCE, WholeFileSystem, is_new_enough
from flowstream.errors import StorageError

OLD, NEW = b"old content", b"new content"
EACH, WHOLE = 1000, 2
"""How many paths are synced together: never so many, or all that come together."""


class Account:
    """What is durable of the files below `root`: contents by inode, names by directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.names: dict[str, dict[str, int]] = {}
        self.lock = threading.Lock()
        self.syncs: list[str] = []
        """"file", "directory" or "whole", as they came."""

    def sync(self, full: str) -> None:
        """fsync of a file or a directory; a directory's name is its parent's affair."""
        if os.path.isdir(full):
            self.syncs.append("directory")
            self.names[full] = {e.name: e.inode() for e in os.scandir(full)}
        else:
            self.syncs.append("file")
            self.contents[os.stat(full).st_ino] = Path(full).read_bytes()

    def sync_all(self) -> None:
        for above, _, files in os.walk(self.root):
            for name in files:
                self.sync(f"{above}/{name}")
            self.sync(above)
        self.syncs.append("whole")

    def found(self, path: str) -> set[bytes | None]:
        """What may be in a file after a power cut now. Its directory is durable."""
        full = self.root / path
        inodes = {self.names.get(str(full.parent), {}).get(full.name)}
        now: dict[int, bytes] = {}
        if full.exists():
            inode = full.stat().st_ino
            inodes.add(inode)
            now[inode] = full.read_bytes()
        found: set[bytes | None] = set()
        for each in inodes:
            if each is None:
                found.add(None)
                continue
            # What was never synced may have a name, and nothing in it.
            found |= {self.contents.get(each, b""), now.get(each, self.contents.get(each, b""))}
        return found


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Of all that happens to the files in `tmp_path`."""
    disk = Account(tmp_path)
    fsync, fdatasync, whole = os.fsync, os.fdatasync, WholeFileSystem.sync

    def synced(call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            call(descriptor)
            with disk.lock:
                disk.sync(os.readlink(f"/proc/self/fd/{descriptor}"))

        return sync

    def all_synced(self: WholeFileSystem) -> None:
        whole(self)
        with disk.lock:
            disk.sync_all()

    monkeypatch.setattr(os, "fsync", synced(fsync))
    monkeypatch.setattr(os, "fdatasync", synced(fdatasync))
    monkeypatch.setattr(WholeFileSystem, "sync", all_synced)
    return disk


def usable(root: Path) -> bool:
    whole = WholeFileSystem(root)
    try:
        return whole.is_usable
    finally:
        whole.close()


def watched(account: Account, paths: list[str], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Look at all `paths` before and behind each change of a name, and each sync. What was found
    that is neither old nor new."""
    wrong: set[str] = set()

    def look(when: str) -> None:
        for path in paths:
            for content in account.found(path) - {None, OLD, NEW}:
                wrong.add(f"{path}: {content!r} {when}")

    def looking(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object, **more: object) -> object:
            with account.lock:
                look(f"before {name}")
            result = call(*arguments, **more)
            with account.lock:
                look(f"behind {name}")
            return result

        return changed

    for name in ("rename", "fsync", "fdatasync"):
        monkeypatch.setattr(os, name, looking(name, getattr(os, name)))
    monkeypatch.setattr(WholeFileSystem, "sync", looking("syncfs", WholeFileSystem.sync))
    return wrong


@pytest.mark.parametrize("together", [EACH, WHOLE])
def test_D1_a_power_cut_at_any_moment_finds_the_old_content_or_the_new(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    storage = FileStorage(tmp_path, together=together)
    paths = [f"d{at}/x" for at in range(6)]
    made: list[Operation] = [MakeDirectory(f"d{at}") for at in range(6)]
    storage.perform([*made, *(Replace(path, OLD) for path in paths[:3])])
    wrong = watched(account, paths, monkeypatch)
    puts: list[Operation] = [Put(path, NEW) for path in paths]
    storage.sync(storage.perform(puts))
    assert wrong == set()
    for path in paths:
        assert account.found(path) == {NEW}
        assert path.partition("/")[0] in account.names[str(tmp_path)]
    storage.close()


def test_D1_a_name_that_comes_before_its_content_is_found(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail."""
    if not usable(tmp_path):
        pytest.skip("the file system of the test does not tell of errors")
    storage = FileStorage(tmp_path, together=WHOLE)
    storage.perform([MakeDirectory("d")])
    monkeypatch.setattr(WholeFileSystem, "sync", lambda self: None)
    wrong = watched(account, ["d/x", "d/y"], monkeypatch)
    storage.sync(storage.perform([Put("d/x", NEW), Put("d/y", NEW)]))
    assert wrong
    storage.close()


def test_V4_hundreds_of_files_are_synced_twice_in_all(account: Account, tmp_path: Path) -> None:
    """Their contents, and their names; one sync of each took 13 s for 6,000 new partitions."""
    if not usable(tmp_path):
        pytest.skip("the file system of the test does not tell of errors")
    storage = FileStorage(tmp_path)
    operations: list[Operation] = []
    for at in range(50):
        whose = Put(f"d{at}/whose", NEW)
        operations += [MakeDirectory(f"d{at}"), whose, Append(f"d{at}/log", ())]
        operations += [Put(f"d{at}/empty", b"")]
    storage.sync(storage.perform(operations))
    assert [each for each in account.syncs if each == "whole"] == ["whole"] * 2
    for at in range(50):
        assert storage.names(f"d{at}") == ["empty", "log", "whose"]
        assert account.found(f"d{at}/log") == account.found(f"d{at}/empty") == {b""}
        assert account.found(f"d{at}/whose") == {NEW}
    account.syncs.clear()
    storage.sync(storage.perform([Append("d3/log", (b"1",))]))
    assert account.syncs == ["file"], "no name is new any more"
    storage.close()


def test_a_name_that_came_while_all_was_synced_is_synced_again(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not usable(tmp_path):
        pytest.skip("the file system of the test does not tell of errors")
    storage = FileStorage(tmp_path, together=WHOLE)
    storage.sync(storage.perform([MakeDirectory("d"), Append("d/first", (b"1",))]))
    whole = WholeFileSystem.sync
    late = ["d/contents", "d/names"]

    def slow(self: WholeFileSystem) -> None:
        whole(self)
        storage.perform([Append(late.pop(0), (b"1",))])

    monkeypatch.setattr(WholeFileSystem, "sync", slow)
    storage.sync(storage.perform([Put("d/x", NEW), Put("d/y", NEW)]))
    account.syncs.clear()
    storage.sync(("d/names",))
    assert account.syncs == ["file", "directory"]
    storage.close()


def test_what_moves_or_goes_while_it_is_written_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not usable(tmp_path):
        pytest.skip("the file system of the test does not tell of errors")
    storage = FileStorage(tmp_path, together=WHOLE)
    storage.perform([MakeDirectory(name) for name in ("d", "e", "f")])
    unsynced = storage.perform([Put(f"{name}/x", OLD) for name in ("d", "e", "f")])
    whole = WholeFileSystem.sync
    first = threading.Event()

    def slow(self: WholeFileSystem) -> None:
        if not first.is_set():
            first.set()
            storage.perform([Put("d/x", NEW), Rename("e", "moved"), Discard("f", "gone")])
        whole(self)

    monkeypatch.setattr(WholeFileSystem, "sync", slow)
    storage.sync(unsynced)
    assert bytes(storage.read("d/x", 0, 100)) == NEW
    assert bytes(storage.read("moved/x", 0, 100)) == OLD
    assert [name for name in storage.names("") if name in ("e", "f")] == []
    assert storage.names("d") == ["x"]
    storage.close()


@pytest.mark.parametrize("fails", [1, 2])
def test_D2_what_could_not_be_written_is_told_and_never_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    if not usable(tmp_path):
        pytest.skip("the file system of the test does not tell of errors")
    calls: list[int] = []

    class Refusing:
        def syncfs(self, descriptor: int) -> int:
            import ctypes

            calls.append(descriptor)
            ctypes.set_errno(errno.EIO)
            return -1 if len(calls) == fails else 0

    storage = FileStorage(tmp_path, together=WHOLE)
    assert storage._whole.is_usable
    monkeypatch.setattr(storage._whole, "_library", Refusing())
    unsynced = storage.perform([MakeDirectory("d"), Put("d/x", NEW), Put("d/y", NEW)])
    with pytest.raises(StorageError, match="Input/output error; the disk failed"):
        storage.sync(unsynced)
    assert len(calls) == fails
    placed = [name for name in storage.names("d") if not name.endswith(".tmp")]
    assert placed == ([] if fails == 1 else ["x", "y"])
    # The system told it once. Whoever waits for the next sync is another, and must hear of it, too.
    with pytest.raises(StorageError, match="Input/output error; the disk failed"):
        storage.sync(storage.perform([Put("d/v", NEW), Put("d/w", NEW)]))
    assert len(calls) == fails
    storage.close()


@pytest.mark.parametrize(
    ("platform", "release", "expected"),
    [
        ("linux", "5.17.0-1-amd64", True),
        ("linux", "6.18.44", True),
        ("linux", "5.16.20", False),
        ("linux", "5.8-rc1", False),
        ("linux", "4.4.0", False),
        ("linux", "unheard-of", False),
        ("linux", "6", False),
        ("darwin", "24.1.0", False),
    ],
)
def test_D2_only_a_linux_that_tells_of_errors_is_trusted(
    platform: str, release: str, *, expected: bool
) -> None:
    assert LINUX_SINCE == (5, 17)
    assert is_new_enough(platform, release) is expected


@pytest.mark.parametrize("why", ["old", "unknown file system", "forbidden"])
def test_D2_elsewhere_each_file_is_synced(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "old":
        monkeypatch.setattr(whole, "is_new_enough", lambda platform, release: False)
    elif why == "unknown file system":
        monkeypatch.setattr(whole, "file_system", lambda library, descriptor: 0x794C7630)
    else:
        monkeypatch.setattr(WholeFileSystem, "_is_allowed", False)
    storage = FileStorage(tmp_path, together=WHOLE)
    storage.sync(storage.perform([MakeDirectory("d"), Put("d/x", NEW), Put("d/y", NEW)]))
    assert sorted(account.syncs) == ["directory", "directory", "file", "file"]
    assert account.found("d/x") == account.found("d/y") == {NEW}
    storage.close()


@pytest.fixture(params=["mounted", "pretended"])
def elsewhere(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Path]:
    """A directory on another file system than `tmp_path`, or one that seems to be."""
    if request.param == "mounted":
        memory = Path("/dev/shm")
        if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no other file system")
        with tempfile.TemporaryDirectory(dir=memory) as made:
            yield Path(made)
        return
    other = tmp_path_factory.mktemp("elsewhere")
    device_of = whole.device_of

    def device(directory: str) -> int:
        return device_of(directory) + (os.path.realpath(directory) == str(other))

    monkeypatch.setattr(whole, "device_of", device)
    yield other


def test_D4_what_is_behind_a_link_to_another_file_system_is_synced_itself(
    account: Account, tmp_path: Path, elsewhere: Path
) -> None:
    """A sync of the data directory's file system does not reach it."""
    if not usable(tmp_path):
        pytest.skip("the file system of the test does not tell of errors")
    (tmp_path / "far").symlink_to(elsewhere)
    storage = FileStorage(tmp_path, together=WHOLE)
    names = ("near", "far", "new")
    operations: list[Operation] = [MakeDirectory("near"), MakeDirectory("new")]
    for name in names:
        operations += [Put(f"{name}/whose", NEW), Append(f"{name}/log", (NEW,))]
    unsynced = storage.perform([*operations, Append("far/empty", ())])
    storage.sync([path for path in unsynced if not path.startswith("far/")])
    assert account.syncs.count("whole") == 2
    assert str(elsewhere) not in account.names
    storage.sync(["far/log"])
    assert "log" in account.names[str(elsewhere)], (
        "the first one left its names as new as they were"
    )
    storage.sync(unsynced)
    assert set(account.names[str(elsewhere)]) == {"whose", "log", "empty"}
    for name in ("whose", "log"):
        assert account.contents[(elsewhere / name).stat().st_ino] == NEW
        assert account.found(f"near/{name}") == account.found(f"new/{name}") == {NEW}
    storage.close()
