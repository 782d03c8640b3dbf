"""Several instances of an agent on one partition, against a model: delays, failures, crashes."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.streams.parking import LOTS
from flowstream.processing.time.dues import PREFIX
from tests.processing.rig import Rig

KEYS = 5
PARKED = "work-parked"
RUNS = 25


def link(before: str, id: str) -> str:
    return hashlib.sha256(f"{before}{id}".encode()).hexdigest()[:12]


class Model:
    """An app of one concurrent agent beside a plain one, and what must come of it.

    Every event extends its key's chain and takes the next number of a row that all of them share.
    """

    def __init__(self, seed: int, **how: Any) -> None:
        self.random = random.Random(seed)
        self.fails = how.pop("fails", 0.0)
        self.takes = how.pop("takes", False)
        self.skips = how.get("on_error") == "skip"
        self.app = fs.App("lanes")
        self.inputs = self.app.topic("in", key_type=str, value_type=str, partitions=1)
        self.others = self.app.topic("others", key_type=str, value_type=str, partitions=1)
        self.out = self.app.topic("out", key_type=str, value_type=str, partitions=1)
        self.chains = self.app.Table("chains", key_type=str, value_type=str, default=str)
        self.numbers = self.app.Table("numbers", key_type=str, value_type=int, default=int)
        self.rig = Rig(self.app)
        self.open = self.most_open = 0
        self.keys_open: Counter[str] = Counter()
        self.by_key = how.get("order") == "key"
        self.sent: list[tuple[str, str]] = []

        @self.app.agent(self.inputs, sink=[self.out], **how)
        async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
            if self.takes:
                async for events in stream.take_events(3, within=0.0):
                    for event in events:
                        yield await self.work(event.key, event.value)
            else:
                async for key, id in stream.items():
                    yield await self.work(key, id)

        @self.app.agent(self.others)
        async def count(stream: fs.Stream[str]) -> None:
            async for _ in stream:
                self.numbers["all"] += 1

    async def work(self, key: str, id: str) -> str:
        self.open += 1
        self.keys_open[key] += 1
        self.most_open = max(self.most_open, self.open)
        if self.by_key and not self.takes:
            assert self.keys_open[key] == 1, "two events of a key at a time"
        try:
            number = self.numbers["all"] + 1
            chain = link(self.chains[key], id)
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)
            if self.random.random() < self.fails or id.startswith("bad"):
                raise ValueError(id)
            self.numbers["all"] = number
            self.chains[key] = chain
            return f"{key} {id} {chain} {number}"
        finally:
            self.open -= 1
            self.keys_open[key] -= 1

    def send(self, count: int, *, bad: float = 0.0) -> None:
        for _ in range(count):
            key, n = f"k{self.random.randrange(KEYS)}", len(self.sent)
            id = f"bad{n}" if self.random.random() < bad else str(n)
            self.sent.append((key, id))
            self.rig.put("in", key.encode(), id.encode())
            if self.random.random() < 0.2:
                self.rig.put("others", b"x", b"y")

    async def run(self, *, crashes: bool) -> None:
        """Deliver, commit and crash at random until everything is committed; each cut is right."""
        await self.rig.open()
        for _ in range(5_000):
            self.rig.clock_ms += self.random.randrange(3)
            self.rig.deliver(self.random.randrange(1, 12))
            for _ in range(self.random.randrange(8)):
                await asyncio.sleep(0)
            assert self.rig.failure is None, self.rig.failure
            if self.random.random() < 0.3:
                self.rig.commit()
                self.check()
            if crashes and self.random.random() < 0.02:
                await self.rig.crash()
                await self.rig.open()
            if self.rig.is_done and not self.parked():
                break
        assert self.rig.is_done, self.rig.positions
        assert self.parked() == []
        for lanes in self.rig.task._lanes.values():
            assert lanes._queue._behind == {}, "a key is locked for ever"
            assert [lane._locked for lane in lanes.lanes] == [set()] * len(lanes.lanes)
        await self.rig.crash()

    def parked(self) -> list[tuple[str, str]]:
        """What is committed as parked, in the order of each key."""
        if PARKED not in self.rig.stores:
            return []
        rows = [each for each in self.rig.rows(PARKED) if each[0].startswith(PREFIX)]
        lots = [(row.removeprefix(PREFIX).decode(), LOTS.decode(data)) for row, data in rows]
        return [(key, (each.value or b"").decode()) for key, lot in lots for each in lot.events]

    def dead(self) -> list[tuple[str, str]]:
        """What is committed as dead letters."""
        told = self.rig.told(self.app.dead_letters)
        return [((key or b"").decode(), (value or b"").decode()) for key, value in told]

    def below(self, topic: str) -> list[Any]:
        """The committed inputs of a topic."""
        ((tp, records),) = [(tp, r) for tp, r in self.rig._inputs.items() if tp.topic == topic]
        return [record for record in records if record.offset < self.rig.positions[tp]]

    def check(self) -> None:
        """S7, S8, S9 at this commit: everything is the fold of what is below the positions."""
        done = [(r.key.decode(), r.value.decode()) for r in self.below("in")]
        if self.skips:
            done = [(key, id) for key, id in done if not id.startswith("bad")]
        parked, dead = self.parked(), self.dead()
        others = len(self.below("others")) if any("others" in tp for tp in self.rig._inputs) else 0
        outputs = [(v or b"").decode().split() for _, v in self.rig.told("out")]
        ids = [(key, id) for key, id, _, _ in outputs]
        found = Counter(ids) + Counter(parked) + Counter(dead)
        assert found == Counter(done), "an event is missing, or done twice"
        numbers = [int(number) for _, _, _, number in outputs]
        assert len(set(numbers)) == len(numbers), "two events took one number"
        rows = dict(self.rig.rows("numbers"))
        assert int(rows.get(b"all", b"0")) == len(ids) + others, "an update is lost"
        chains: dict[str, str] = defaultdict(str)
        for key, id, chain, _ in outputs:
            chains[key] = link(chains[key], id)
            assert chain == chains[key], "a key's events are not in a chain"
        assert {k.decode(): v.decode() for k, v in self.rig.rows("chains")} == chains
        if self.by_key:
            for key in chains:
                told = [id for k, id in [*ids, *parked] if k == key]
                given_up = {id for k, id in dead if k == key}
                wanted = [id for k, id in done if k == key and id not in given_up]
                assert told == wanted, "a key's order is lost"


KINDS: dict[str, dict[str, Any]] = {
    "by key": {"order": "key"},
    "any order": {},
    "by key, failing": {"order": "key", "fails": 0.1, "on_error": fs.retry(backoff=0)},
    "any order, failing": {"fails": 0.1, "on_error": fs.retry(backoff=0)},
    "by key, skipping": {"order": "key", "on_error": "skip", "bad": 0.1},
    "by key, in takes": {
        "order": "key",
        "takes": True,
        "fails": 0.05,
        "on_error": fs.retry(backoff=0),
    },
    "by key, in takes, given up": {
        "order": "key",
        "takes": True,
        "bad": 0.05,
        "on_error": "dead_letter",
    },
    "any order, in takes, given up": {
        "takes": True,
        "bad": 0.05,
        "on_error": fs.retry(1, backoff=0, then="dead_letter"),
    },
    "by key, parking": {
        "order": "key",
        "fails": 0.15,
        "on_error": fs.park(None, backoff=0.002, longest=0.004),
    },
    "by key, in takes, parking": {
        "order": "key",
        "takes": True,
        "fails": 0.1,
        "on_error": fs.park(None, backoff=0.002, longest=0.004),
    },
}


@pytest.mark.parametrize("kind", KINDS)
async def test_S7_S8_S9_side_by_side_each_event_is_done_once(kind: str) -> None:
    side_by_side = 0
    for seed in range(RUNS):
        print(f"{kind}: seed {seed}")  # shown when it fails
        how = dict(KINDS[kind])
        bad = how.pop("bad", 0.0)
        model = Model(seed, concurrency=1 + seed % 7 + 1, **how)
        model.send(60, bad=bad)
        await model.run(crashes=seed % 2 == 1)
        side_by_side = max(side_by_side, model.most_open)
    assert side_by_side > 3, "nothing ran side by side"
