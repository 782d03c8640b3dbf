"""What is done to a run: one act after the other, by chance, each counted."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from flowstream.cli.embedded import answers
from flowstream.errors import FlowstreamError
from flowstream.transport.cluster import Cluster
from flowstream.transport.transaction_admin import fence, list_transactions
from flowstream.wire.api import ApiKey
from tests.crash.kinds.app import NAME
from tests.crash.kinds.stage import Stage
from tests.crash.processes import SESSION_TIMEOUT_S
from tests.transport.proxy import Fault

log = logging.getLogger("tests.kinds")
EVERY_S = 2.0
"""A guest comes or goes so often in a storm."""
BREATHING = 0.7
ABORT_S = 5.0
KILLS = ("worker", "broker", "both", "wipe")
ACTS = {
    "embedded": {
        "worker": 4, "broker": 3, "both": 2, "zombie": 2, "storm": 2, "slow": 3, "abort": 2,
        "wipe": 2, "roll": 2,
    },
    "proxied": {
        "worker": 2, "broker": 1, "both": 1, "zombie": 1, "storm": 1, "slow": 1, "abort": 2,
        "wipe": 1, "cut": 8, "roll": 1,
    },
    "foreign": {"worker": 4, "zombie": 1, "storm": 1, "abort": 1, "wipe": 2, "roll": 1},
}  # fmt: skip
"""What may happen where, and how often beside the others."""
CUT = (
    ApiKey.END_TXN, ApiKey.END_TXN, ApiKey.TXN_OFFSET_COMMIT, ApiKey.ADD_OFFSETS_TO_TXN,
    ApiKey.ADD_PARTITIONS_TO_TXN, ApiKey.PRODUCE, ApiKey.INIT_PRODUCER_ID, ApiKey.SYNC_GROUP,
    ApiKey.JOIN_GROUP, ApiKey.OFFSET_FETCH,
)  # fmt: skip
REPEATED = (ApiKey.END_TXN, ApiKey.TXN_OFFSET_COMMIT, ApiKey.PRODUCE)
"""Requests of which a copy, or one that comes late, must do no harm."""


class Adversary:
    """Strikes a stage. `counts`: what was done so far."""

    def __init__(self, stage: Stage, rng: random.Random, spares: Sequence[str] = ()) -> None:
        """`spares`: what it does not do."""
        self.counts: Counter[str] = Counter()
        self._spares = spares
        self._stage, self._rng = stage, rng
        self._going_on: list[asyncio.Task[None]] = []

    async def strike(self, some: Sequence[str] = ()) -> None:
        """Do one thing, of `some` if given. What takes long goes on beside the next ones."""
        weights = {
            act: weight
            for act, weight in ACTS[self._stage.mode].items()
            if act not in self._spares and (not some or act in some)
        }
        act = self._rng.choices(list(weights), list(weights.values()))[0]
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "worker": self._kill_worker,
            "broker": self._kill_broker,
            "both": self._kill_both,
            "zombie": self._freeze,
            "storm": self._storm,
            "slow": self._slow,
            "abort": self._abort,
            "wipe": self._wipe,
            "cut": self._cut,
            "roll": self._roll,
        }
        self.counts[act] += 1
        log.warning("strike %d: %s", self.counts.total(), act)
        await acts[act]()

    async def breathe(self) -> None:
        """Time until the next one: mostly while all is at work again, else while it starts."""
        if self._rng.random() < BREATHING:
            while not await answers(self._stage.address):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await asyncio.sleep(self._rng.uniform(0.2, 1.8))

    async def relent(self) -> None:
        """Wait for the end of what goes on."""
        await asyncio.gather(*self._going_on)
        self._going_on.clear()
        await self._stage.dismiss()
        if self._stage.proxy is not None:
            await self._release()

    def _beside(self, work: Callable[[], Awaitable[None]]) -> None:
        async def task() -> None:
            await work()

        self._going_on.append(asyncio.create_task(task()))

    async def _kill_worker(self) -> None:
        self._rng.choice(self._stage.workers).kill()

    async def _kill_broker(self) -> None:
        self._stage.kill_broker()

    async def _kill_both(self) -> None:
        await self._kill_worker()
        self._stage.kill_broker()

    async def _roll(self) -> None:
        """All workers are stopped well and started again, one after the other."""
        for worker in self._stage.workers:
            await worker.restart()
            await asyncio.sleep(self._rng.uniform(0.5, 2.0))

    async def _freeze(self) -> None:
        worker = self._rng.choice(self._stage.workers)
        # What dies while it sleeps, it does not know when it wakes.
        sleep = SESSION_TIMEOUT_S + self._rng.uniform(0.5, 2.0)
        self._beside(lambda: worker.freeze(sleep))

    async def _storm(self) -> None:
        """A third worker joins and leaves, and what happens next happens in the midst of it."""
        if any(not task.done() for task in self._going_on if task.get_name() == "storm"):
            return
        turns, rude = self._rng.randrange(2, 4), self._rng.random() < 0.4

        async def storm() -> None:
            for _ in range(turns):
                self.counts["guests that joined"] += await self._stage.invite()
                await asyncio.sleep(EVERY_S)
                await self._stage.dismiss(rudely=rude)
                await asyncio.sleep(EVERY_S)

        task = asyncio.create_task(storm(), name="storm")
        self._going_on.append(task)

    async def _slow(self) -> None:
        """The broker stands still, or one of its answers to a commit is late."""
        seconds = self._rng.uniform(0.2, 1.2)
        proxy = self._stage.proxy
        if proxy is not None and self._rng.random() < 0.7:
            proxy.delay_s = seconds
            proxy.inject(self._rng.choice(CUT), Fault.DELAY)
            return
        self._beside(lambda: self._stage.pause_broker(seconds))

    async def _cut(self) -> None:
        """A connection is cut while a transaction is in flight, before or behind the broker."""
        proxy = self._stage.proxy
        assert proxy is not None
        key = self._rng.choice(CUT)
        faults = [Fault.LOSE_REQUEST, Fault.LOSE_REPLY]
        if key in REPEATED:
            faults += [Fault.REPEAT, Fault.HOLD]
        proxy.inject(key, self._rng.choice(faults), self._rng.choice((1, 1, 1, 2, 3)))
        if self._rng.random() < 0.5:
            await self._release()

    async def _release(self) -> None:
        """What was held comes late."""
        proxy = self._stage.proxy
        assert proxy is not None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await proxy.release()

    async def _abort(self) -> None:
        """Somebody aborts the transaction of one of the app's workers, and fences it."""
        cluster = Cluster(self._stage.address, client_id="adversary")
        try:
            async with asyncio.timeout(ABORT_S):
                await cluster.connect()
                listed = await list_transactions(cluster)
                mine = sorted(each for each in listed if each[0].startswith(f"{NAME}-"))
                ongoing = [each for each in mine if each[2] == "Ongoing"] or mine
                if ongoing:
                    await fence(cluster, self._rng.choice(ongoing)[0])
        except (FlowstreamError, OSError, TimeoutError):
            self.counts["abort that came to nothing"] += 1
        finally:
            await cluster.close()

    async def _wipe(self) -> None:
        """A worker dies, and the stores of a slot that nobody holds are gone, some or all."""
        await self._kill_worker()
        await asyncio.sleep(0.05)  # its locks go with it
        for slot in sorted((self._stage.directory / "state" / NAME).glob("*")):
            lock = os.open(slot / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    share = self._rng.choice((0.3, 1.0))
                    for store in sorted(path for path in slot.iterdir() if path.is_dir()):
                        if self._rng.random() < share:
                            shutil.rmtree(store)
                            self.counts["stores wiped"] += 1
            finally:
                os.close(lock)
