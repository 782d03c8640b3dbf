"""The journal: one sync for many files, and what recovery makes of it after any crash."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flowstream.broker.doors import (
    Append,
    Flush,
    MakeDirectory,
    Operation,
    Remove,
    Rename,
    Settle,
    Truncate,
)
from flowstream.broker.log.journal import BLOCK, FILES, Piece, encode_frame, replay
from flowstream.broker.storage.disk import Disk
from flowstream.broker.storage.journaled import MOST_PIECE, JournaledStorage
from flowstream.broker.storage.memory import Crashed, MemoryStorage
from flowstream.errors import CorruptLog

SALT = b"saltsalt"


class Counting(MemoryStorage):
    """Remembers which files were synced."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[str] = []

    def sync(self, paths: Collection[str]) -> None:
        self.synced += sorted(paths)
        super().sync(paths)


def started(count: int = 4, blocks: int = 64) -> tuple[Counting, JournaledStorage]:
    """`count` files that were synced once, so that their next bytes may go into the journal."""
    disk = Counting()
    storage = JournaledStorage(disk, disk, SALT, journal_bytes=blocks * BLOCK)
    storage.perform([MakeDirectory(f"d{at}") for at in range(count)])
    append(storage, b"first", count)
    disk.synced.clear()
    return disk, storage


def append(storage: JournaledStorage, data: bytes, count: int = 4) -> None:
    storage.sync(storage.perform([Append(f"d{at}/x", (data,)) for at in range(count)]))


def crash(disk: MemoryStorage, seed: int = 1) -> list[str]:
    """The power goes, and recovery performs all that it wants; what it reports."""
    disk.crash(random.Random(seed))
    found = replay(disk)
    disk.perform(found.operations + found.ending)
    return found.report


def content(disk: MemoryStorage, path: str) -> bytes:
    return bytes(disk.read(path, 0, 1 << 20))


def test_D4_one_sync_makes_what_many_files_got_durable() -> None:
    disk, storage = started()
    append(storage, b"SECOND")
    append(storage, b"third")
    assert disk.synced == [FILES[0]] * 2
    for seed in range(20):
        copy = started()[0]
        copy._files, copy._entries = dict(disk._files), dict(disk._entries)
        crash(copy, seed)
        assert [content(copy, f"d{at}/x") for at in range(4)] == [b"firstSECONDthird"] * 4
        assert [name for name in copy.names("") if "journal" in name] == []


def test_one_file_and_large_writes_are_synced_themselves() -> None:
    disk, storage = started()
    append(storage, b"alone", 1)
    append(storage, bytes(MOST_PIECE + 1))
    assert FILES[0] not in disk.synced
    assert disk.synced == ["d0/x", "d0/x", "d1/x", "d2/x", "d3/x"]
    append(storage, b"small again")
    assert disk.synced[5:] == [FILES[0]]


def test_D4_whatever_goes_where_what_was_synced_survives() -> None:
    """Random small and large appends, removals, renames, cuts; crashes, also in recovery."""
    for seed in range(80):
        try:
            live(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def live(seed: int) -> None:
    rng = random.Random(seed)
    disk = MemoryStorage()
    synced: dict[str, bytes] = {}
    for _ in range(4):
        life(disk, synced, rng)
        disk.crash(rng)
        for within in (rng.randrange(0, 12), None):
            disk.crash_at(None if within is None else disk.operations + within)
            try:
                found = replay(disk)
                disk.perform(found.operations)
                for path, data in synced.items():
                    seen = content(disk, path)
                    assert seen[: len(data)] == data, path
                disk.perform(found.ending)
            except Crashed:
                disk.crash(rng)
        for path in [f"d{at}/x" for at in range(5) if disk.size(f"d{at}/x") is not None]:
            if path in synced:
                disk.perform([Truncate(path, len(synced[path]))])
            disk.sync({path})
            synced[path] = content(disk, path)


def life(disk: MemoryStorage, synced: dict[str, bytes], rng: random.Random) -> None:
    storage = JournaledStorage(disk, disk, rng.randbytes(8), journal_bytes=4 * BLOCK)
    written, waiting = dict(synced), set[str]()
    storage.perform([MakeDirectory(f"d{at}") for at in range(5)])
    disk.crash_at(disk.operations + rng.randrange(1, 200))
    try:
        for _ in range(40):
            operations: list[Operation] = []
            for at in rng.sample(range(5), rng.randrange(0, 5)):
                data = rng.randbytes(rng.choice([1, 50, 50, 5000, MOST_PIECE + 1]))
                operations.append(Append(f"d{at}/x", (data[:7], data[7:])))
                written[f"d{at}/x"] = written.get(f"d{at}/x", b"") + data
            if rng.randrange(0, 6) == 0:
                operations.append(changed(rng, written, synced))
            waiting |= storage.perform(operations)
            if rng.randrange(0, 2):
                storage.sync(waiting)
                waiting, synced_now = set(), written
                synced.update(synced_now)
    except Crashed:
        pass
    disk.crash_at(None)


def changed(rng: random.Random, written: dict[str, bytes], synced: dict[str, bytes]) -> Operation:
    path = f"d{rng.randrange(0, 5)}/x"
    was_there = written.pop(path, None) is not None
    synced.pop(path, None)
    choices: list[Operation] = [Remove(path), Truncate(path, 0)]
    if was_there:
        choices.append(Rename(path, path + ".old"))
    return rng.choice(choices)


def test_D5_a_deleted_topic_is_not_resurrected() -> None:
    disk, storage = started()
    append(storage, b"second")
    storage.perform([Rename("d0", "d0-delete"), Remove("d0-delete"), MakeDirectory("d0")])
    storage.sync(storage.perform([Append("d0/x", (b"another",))]))
    append(storage, b"third")
    crash(disk)
    assert content(disk, "d0/x") == b"anotherthird"
    assert content(disk, "d1/x") == b"firstsecondthird"


def test_L2_an_exchange_waits_for_one_file_and_a_removal_for_none() -> None:
    """However many files live in the journal; and every frame is still right."""
    disk, storage = started(40)
    append(storage, b"second", 40)
    disk.synced.clear()
    storage.perform([Remove("d0/x"), Rename("d1", "gone"), Remove("gone")])
    assert disk.synced == []
    storage.perform([Append("d2/y", (b"new",)), Flush("d2/y"), Rename("d2/y", "d2/x")])
    assert disk.synced == ["d2/x", FILES[0]]
    storage.sync(storage.perform([Append(f"d{at}/x", (b"third",)) for at in range(3, 40)]))
    assert crash(disk) == []
    assert content(disk, "d2/x") == b"new"
    assert content(disk, "d39/x") == b"firstsecondthird"
    assert disk.size("d1/x") is None


def test_L2_a_file_that_moves_and_stays_keeps_what_only_the_journal_had() -> None:
    disk, storage = started()
    append(storage, b"second")
    storage.perform([Rename("d0/x", "d0/y")])
    crash(disk)
    assert content(disk, "d0/y") == b"firstsecond"


def test_D7_what_somebody_else_took_away_is_told_of() -> None:
    disk, storage = started()
    append(storage, b"second")
    disk.perform([Remove("d0")])
    disk._entries.pop("d0/x")
    assert crash(disk) == ["d0/x is gone: what the journal holds for it is left out"]
    assert disk.size("d0/x") is None


def test_D3_a_torn_frame_is_cut_and_told_of() -> None:
    disk, storage = started()
    append(storage, b"second")
    frame = encode_frame(2, 1, SALT, [Piece("d0/x", 11, b"lost")])
    frame[50] ^= 1
    disk._files[FILES[0]].data[BLOCK : BLOCK + len(frame)] = frame
    disk._files[FILES[0]].sync()
    (report,) = crash(disk)
    assert report == "journal-0.wal: the frame at byte 4096 is not whole: it was never acknowledged"
    assert content(disk, "d0/x") == b"firstsecond"


def test_D6_any_flipped_byte_of_the_journal_is_noticed_or_harmless() -> None:
    disk, storage = started(blocks=4)
    for number in range(6):
        append(storage, b"%d" % number)
    files = dict(disk._files)
    noticed = harmless = 0
    for name in FILES:
        for position in [*range(0, 4 * BLOCK, 61), *range(64), *range(BLOCK, BLOCK + 64)]:
            copy = MemoryStorage()
            for path, file in files.items():
                copy.perform([MakeDirectory(path.rpartition("/")[0]), Append(path, (file.data,))])
            copy.flip(name, position)
            try:
                found = replay(copy)
            except CorruptLog:
                noticed += 1
                continue
            copy.perform(found.operations + found.ending)
            assert content(copy, "d0/x") == b"first012345"
            harmless += 1
    assert noticed > 50
    assert harmless > 50


def test_a_record_that_looks_like_a_frame_is_none() -> None:
    disk, storage = started()
    forged = encode_frame(1, 1, b"guessed!", [Piece("d1/x", 0, b"FORGED")])
    storage.sync(
        storage.perform(
            [Append("d0/x", (bytes(BLOCK - 54) + forged,)), Append("d1/x", (b"second",))]
        )
    )
    file = disk._files[FILES[0]]
    assert bytes(file.data).find(forged[:36]) % BLOCK == 0
    file.data[0:4] = b"torn"
    file.sync()
    with pytest.raises(CorruptLog, match="restore the files"):
        crash(disk)


def test_files_take_turns_and_the_journal_does_not_grow() -> None:
    disk, storage = started(blocks=4)
    for _ in range(50):
        append(storage, b"more")
    assert {disk.size(name) for name in FILES} == {256 << 10}
    assert disk.synced.count("d0/x") > 10, "synced lazily"
    storage.perform([Settle()])
    assert [name for name in disk.names("") if "journal" in name] == []


@pytest.mark.parametrize("fsync", [True, False])
def test_on_a_real_disk(tmp_path: Path, fsync: bool) -> None:
    disk = Disk(tmp_path, fsync=fsync)
    door = disk.door
    operations: Sequence[Operation] = [MakeDirectory(f"d{at}") for at in range(20)]
    door.perform(operations)
    with ThreadPoolExecutor(1) as syncing:
        for number in range(30):
            paths = door.perform([Append(f"d{at}/x", (b"%02d" % number,)) for at in range(20)])
            syncing.submit(door.sync, paths).result()
    expected = b"".join(b"%02d" % number for number in range(30))
    assert (tmp_path / FILES[0]).exists() is fsync
    found = replay(door)
    assert all((tmp_path / f"d{at}" / "x").read_bytes() == expected for at in range(20))
    assert set(found.synced.values()) == ({60} if fsync else set())
    door.perform([Settle()])
    disk.close()
    assert not list(tmp_path.glob("journal*"))


class Meanwhile(MemoryStorage):
    """Lets something happen on the loop's thread while files are synced."""

    def __init__(self) -> None:
        super().__init__()
        self.then: list[Sequence[Operation]] = []
        self.storage: JournaledStorage | None = None

    def sync(self, paths: Collection[str]) -> None:
        then, self.then = self.then, []
        for operations in then:
            assert self.storage is not None
            self.storage.perform(operations)
        super().sync(paths)


def test_L2_D5_a_topic_deleted_during_a_sync_does_not_come_back_into_the_next_one() -> None:
    disk = Meanwhile()
    storage = disk.storage = JournaledStorage(disk, disk, SALT, journal_bytes=64 * BLOCK)
    storage.perform([MakeDirectory(f"d{at}") for at in range(3)])
    append(storage, b"A" * 100, 3)
    unsynced = storage.perform([Append(f"d{at}/x", (b"a" * 10,)) for at in range(3)])
    unsynced |= storage.perform([Append("d2/x", (b"c" * (MOST_PIECE + 1),))])
    disk.then = [[Rename("d0", "d0-delete"), Remove("d0-delete")]]
    storage.sync(unsynced)
    assert disk.then == []
    storage.sync(storage.perform([MakeDirectory("d0"), Append("d0/x", ())]))
    storage.sync(storage.perform([Append("d0/x", (b"N" * 20,))]))
    crash(disk)
    assert bytes(disk.read("d0/x", 0, 200)) == b"N" * 20
