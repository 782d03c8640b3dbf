"""Slots: a worker's own place on this machine, `<data>/state/<app>/<n>/`, locked, with a UUID.

Shell: files and one lock. The lock ends with the process, so a slot of a dead worker is free
and its state is taken over by whoever comes next.
"""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
from pathlib import Path
from typing import NamedTuple

from flowstream.errors import FlowstreamError
from flowstream.state.rocksdb import open_store
from flowstream.state.store import StateStore, StoreIdentity

log = logging.getLogger("flowstream.worker")

MOST_SLOTS = 1_000


RESETTING = "resetting"
"""While this file is beside the slots, no worker takes one."""
MEMBER = "member"
"""The file in a slot that names its worker as a member of the app's group."""


class SlotError(FlowstreamError):
    """No slot can be used; the message names the directory and the remedy."""


class NotedMember(NamedTuple):
    """As whom a worker is in its app's group."""

    cluster_id: str
    member_id: str


class Slot:
    """A locked slot. Its stores live in `path`; its UUID names the transactional id (T11)."""

    def __init__(self, path: Path, number: int, uuid_text: str, lock: int) -> None:
        self.path = path
        self.number = number
        self.uuid = uuid_text
        self._lock: int | None = lock

    def store_path(self, table: str, partition: int) -> Path:
        """Where a table partition's store is."""
        return self.path / f"{table}-{partition}"

    def holds(self, table: str, partition: int) -> bool:
        """Whether there is a store of this partition already."""
        return self.store_path(table, partition).exists()

    def open(self, identity: StoreIdentity) -> StateStore:
        """The store of a table's partition, made when there is none. StoreError when it cannot."""
        return open_store(self.store_path(identity.table, identity.partition), identity)

    @property
    def member(self) -> NotedMember | None:
        """Whoever noted itself here last and did not leave its group."""
        try:
            lines = (self.path / MEMBER).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return None
        return NotedMember(*lines) if len(lines) == len(NotedMember._fields) else None

    @member.setter
    def member(self, member: NotedMember | None) -> None:
        """Not synced: it outlives the process, and after a power cut it is a hint that is lost."""
        try:
            if member is None:
                (self.path / MEMBER).unlink(missing_ok=True)
                return
            temporary = self.path / f"{MEMBER}.new"
            temporary.write_text("".join(f"{line}\n" for line in member), encoding="utf-8")
            temporary.replace(self.path / MEMBER)
        except OSError as error:
            log.warning("who comes after a kill waits for the session: %s", error)

    def release(self) -> None:
        """Let the next worker have it; releasing twice is allowed."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def take_slot(data_dir: Path, app_id: str) -> Slot:
    """Lock the first free slot of an app, making it when there is none."""
    base = data_dir / "state" / app_id
    try:
        for number in range(MOST_SLOTS):
            slot = _try(base / str(number), number)
            if slot is not None:
                return slot
    except OSError as error:
        raise SlotError(
            f"cannot use {base} for state: {error.strerror or error}. Give another directory with"
            " --data, or make this one writable"
        ) from error
    raise SlotError(f"all {MOST_SLOTS} slots below {base} are taken")


def _try(path: Path, number: int) -> Slot | None:
    path.mkdir(parents=True, exist_ok=True)
    slot = _locked(path, number)
    # After the lock: a reset writes its mark first, then finds the lock of whoever missed it.
    if slot is not None and (path.parent / RESETTING).exists():
        slot.release()
        raise SlotError(
            f"a reset of this app has begun and not ended ({path.parent / RESETTING}): finish it"
            " with `flowstream reset -A MODULE --execute`"
        )
    return slot


def _locked(path: Path, number: int) -> Slot | None:
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return Slot(path, number, _uuid(path), lock)


def _uuid(path: Path) -> str:
    file = path / "uuid"
    try:
        return str(uuid.UUID(file.read_text(encoding="ascii").strip()))
    except FileNotFoundError:
        made = str(uuid.uuid4())
        temporary = path / "uuid.new"
        with temporary.open("w", encoding="ascii") as handle:
            handle.write(made + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
        return made
    except ValueError as error:
        raise SlotError(f"{file} is damaged: delete the directory {path}, it is rebuilt") from error


def lock_all(base: Path) -> list[Slot]:
    """Lock every slot of an app; SlotError, and none is locked, when a worker has one."""
    taken: list[Slot] = []
    try:
        for path in sorted(base.glob("*")):
            if path.name.isdigit():
                slot = _locked(path, int(path.name))
                if slot is None:
                    raise SlotError(f"a worker of this app is running: it holds {path}. Stop it")
                taken.append(slot)
    except BaseException:
        for slot in taken:
            slot.release()
        raise
    return taken


def stores_on_disk(data_dir: Path, app_id: str, table: str) -> list[Path]:
    """Directories of a table's stores in any slot of the app on this machine."""
    base = data_dir / "state" / app_id
    return sorted(
        path
        for path in base.glob(f"*/{table}-*")
        if path.is_dir() and path.name.removeprefix(f"{table}-").isdigit()
    )
