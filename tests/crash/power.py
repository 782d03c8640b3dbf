"""A disk under real files that loses its power: what was not synced is kept in part, in any order,
torn.

The broker reads and writes files through `FileStorage`, with its threads; beside it the twin in
memory keeps the account of what is durable, and says what a cut leaves.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from flowstream.broker.doors import Flush, Operation, Overwrite, Put, Replace
from flowstream.broker.storage.files import FileStorage
from flowstream.broker.storage.memory import MemoryStorage
from flowstream.errors import FlowstreamError


class PowerOff(FlowstreamError):
    """Nothing reaches the disk any more."""


@dataclass
class Supply:
    """The power of one machine: it goes after `left` more operations and syncs."""

    root: Path
    left: int
    twin: MemoryStorage
    lock: Lock = field(default_factory=Lock)
    begun: int = 0
    """Syncs that began."""
    newest: dict[str, int] = field(default_factory=dict)
    """The newest sync of each path that ended: an older one that ends later takes nothing back."""

    def use(self) -> None:
        """One more operation. Raises PowerOff."""
        self.left -= 1
        if self.left < 0:
            raise PowerOff("the power is off")

    def cut(self, rng: random.Random) -> None:
        """Leave on the real disk what a power cut leaves."""
        with self.lock:
            self.left = -1
            self.twin.crash(rng)
            shutil.rmtree(self.root)
            self.root.mkdir()
            for path, file in self.twin._files.items():
                full = self.root / path
                full.parent.mkdir(parents=True, exist_ok=True)
                full.write_bytes(file.data)
            for directory in self.twin._directories:
                (self.root / directory).mkdir(parents=True, exist_ok=True)


class PoweredFiles(FileStorage):
    """Files on a disk that needs power."""

    def __init__(self, supply: Supply) -> None:
        super().__init__(supply.root, together=2)
        self.supply = supply

    def perform(self, operations: Sequence[Operation]) -> set[str]:
        unsynced: set[str] = set()
        for operation in operations:
            with self.supply.lock:
                self.supply.use()
                # The twin first: a reader sees nothing that it does not know.
                self.supply.twin.perform([copied(operation)])
                if isinstance(operation, Flush):
                    continue
                unsynced |= super().perform([operation])
        known = self.supply.twin
        return {path for path in unsynced if path in known._files or path in known._puts}

    def sync(self, paths: Collection[str]) -> None:
        """Only what was written before it began is durable when it ends."""
        with self.supply.lock:
            self.supply.use()
            puts = {path for path in paths if path in self.supply.twin._puts}
        if puts:
            self._place_durably(puts)
        for path in sorted(set(paths).difference(puts)):
            with self.supply.lock:
                self.supply.use()
                self.supply.begun = number = self.supply.begun + 1
                waits = path in self.supply.twin._puts
                file = self.supply.twin._files.get(path)
                content = bytes(file.data) if file is not None else b""
            if waits:
                self._place_durably((path,))
                continue
            if file is None:
                continue
            super().sync((path,))
            with self.supply.lock:
                self.supply.use()
                if number > self.supply.newest.get(path, 0):
                    self.supply.newest[path] = number
                    file.durable = content
                if self.supply.twin._files.get(path) is file:
                    self.supply.twin._sync_directory(os.path.dirname(path))

    def _place_durably(self, paths: Collection[str]) -> None:
        """New content gets its names: the power goes before or behind."""
        super().sync(paths)
        with self.supply.lock:
            self.supply.use()
            self.supply.twin.sync(paths)


def copied(operation: Operation) -> Operation:
    """The operation with bytes of its own."""
    if isinstance(operation, Replace | Put):
        return type(operation)(operation.path, bytes(operation.data))
    if isinstance(operation, Overwrite):
        return Overwrite(operation.path, operation.position, bytes(operation.data))
    return operation
