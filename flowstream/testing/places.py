"""What a machine keeps of an app between two workers: slots with their stores, in memory.

Shell; the twin of `processing.environment.slots`. A worker that is killed leaves what its stores
had flushed.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from pathlib import Path

from flowstream.processing.environment.slots import NotedMember, Slot
from flowstream.state.memory import MemoryStore
from flowstream.state.store import StateStore, StoreIdentity


class MemorySlot(Slot):
    """A slot whose stores are dictionaries."""

    def __init__(
        self,
        path: Path,
        number: int,
        uuid_text: str,
        now_ms: Callable[[], int],
        flush_every: int | None,
    ) -> None:
        super().__init__(path, number, uuid_text, -1)
        self.is_taken = True
        self._now_ms = now_ms
        self._flush_every = flush_every
        self._stores: dict[tuple[str, int], MemoryStore] = {}
        self._member: NotedMember | None = None

    @property
    def member(self) -> NotedMember | None:
        """Whoever noted itself here last and did not leave its group."""
        return self._member

    @member.setter
    def member(self, member: NotedMember | None) -> None:
        self._member = member

    def holds(self, table: str, partition: int) -> bool:
        """Whether there is a store of this partition already."""
        return (table, partition) in self._stores

    def open(self, identity: StoreIdentity) -> StateStore:
        """The store of a table's partition, as its disk has it."""
        place = identity.table, identity.partition
        store = self._stores.get(place)
        if store is None:
            store = MemoryStore(flush_every=self._flush_every, now_ms=self._now_ms)
        else:
            store = store.survivor()
        self._stores[place] = store
        return store

    def release(self) -> None:
        """Let the next worker have it."""
        self.is_taken = False

    def left_by_the_dead(self) -> MemorySlot:
        """The same slot for the next worker, out of reach of the one that was killed."""
        left = MemorySlot(self.path, self.number, self.uuid, self._now_ms, self._flush_every)
        left._stores = {place: store.survivor() for place, store in self._stores.items()}
        left.member = self.member
        left.is_taken = False
        return left


class Places:
    """The slots of one app on one machine."""

    def __init__(
        self, rng: random.Random, now_ms: Callable[[], int], flush_every: int | None = None
    ) -> None:
        self.slots: dict[int, MemorySlot] = {}
        self._rng = rng
        self._now_ms = now_ms
        self._flush_every = flush_every

    def take(self, app_id: str) -> MemorySlot:
        """The first slot that nobody has."""
        number = 0
        while number in self.slots and self.slots[number].is_taken:
            number += 1
        slot = self.slots.get(number)
        if slot is None:
            name = str(uuid.UUID(int=self._rng.getrandbits(128), version=4))
            path = Path("memory", "state", app_id, str(number))
            slot = MemorySlot(path, number, name, self._now_ms, self._flush_every)
            self.slots[number] = slot
        slot.is_taken = True
        return slot

    def bury(self, slot: MemorySlot) -> None:
        """Whoever had it was killed."""
        if self.slots.get(slot.number) is slot:
            self.slots[slot.number] = slot.left_by_the_dead()

    def lose(self) -> None:
        """The disk is gone: slots that nobody has are new ones."""
        self.slots = {number: slot for number, slot in self.slots.items() if slot.is_taken}

    def stores(self, table: str) -> list[Path]:
        """Where stores of a table are."""
        return [
            slot.store_path(table, number)
            for slot in self.slots.values()
            for name, number in sorted(slot._stores)
            if name == table
        ]
