"""All neighbours of the app together: their threads, their verdicts, and what happened at all."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from pathlib import Path

from flowstream.broker.log import checkpoints
from flowstream.broker.log.names import CLEANED, SWAP
from flowstream.errors import FlowstreamError
from tests.checkers.history import Anomaly
from tests.checkers.retained import Bounds
from tests.crash.crowd.clients import CALM, Refused, Stalled
from tests.crash.crowd.groups import PROTOCOLS, Group
from tests.crash.crowd.lives import Lives
from tests.crash.crowd.neighbour import Neighbour, Role
from tests.crash.crowd.river import River
from tests.crash.crowd.table import TOPIC as TABLE
from tests.crash.crowd.table import Table

LONG = 100
"""Kills after which nothing that is expected may not have happened."""
LOOK_S = 0.1
SETTINGS = {
    "AUTO_CREATE_TOPICS_ENABLE": "false",
    "LOG_CLEANER_BACKOFF_MS": "150",
    "LOG_CLEANER_MIN_CLEANABLE_RATIO": "0.01",
    "LOG_RETENTION_CHECK_INTERVAL_MS": "300",
    "LOG_ROLL_MS": "5000",
    "GROUP_CONSUMER_MIN_SESSION_TIMEOUT_MS": "1000",
    "GROUP_CONSUMER_SESSION_TIMEOUT_MS": "2000",
    "GROUP_CONSUMER_MIN_HEARTBEAT_INTERVAL_MS": "100",
    "GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS": "300",
}
"""Cleaning, retention and rebalances are frequent, also in the broker's own topics."""
LEFT_BEHIND = {
    "killed while cleaning": f"*/*{CLEANED}",
    "killed in an exchange": f"*/*{SWAP}",
    "killed in a deletion": "*-delete",
}
"""What a start finds unfinished, and the files that say so."""
ENVIRONMENT = {f"FLOWSTREAM_BROKER_{name}": value for name, value in SETTINGS.items()}


class Cleanings(Neighbour):
    """Counts the compactions by what the broker notes of each: how far a log is clean; and what a
    killed one leaves behind of those that were going on.
    """

    expected = ("of the table", "of the broker's topics")

    def __init__(self, directory: Path) -> None:
        super().__init__("")
        self._data = directory / "broker"
        self._file = self._data / checkpoints.CLEANER
        self._before: dict[object, int] = {}

    def roles(self) -> dict[str, Role]:
        """One who looks."""
        return {"watcher": self._watch}

    def _watch(self, stop: threading.Event, rng: random.Random) -> None:
        while not stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Count what was cleaned since the last look."""
        try:
            ends = checkpoints.decode_offsets(self._file.read_bytes(), str(self._file))
        except (FileNotFoundError, FlowstreamError):
            return
        for name, end in ends.items():
            if end > self._before.get(name, 0):
                self.counts[kind(name.topic)] += 1
        self._before = dict(ends)

    def struck(self) -> None:
        """The broker was killed just now."""
        for what, pattern in LEFT_BEHIND.items():
            self.counts[what] += any(self._data.glob(pattern))

    def settle(self, rng: random.Random) -> None:
        """Nothing to judge."""
        self.look()


def kind(topic: str) -> str:
    """Whose topic it is."""
    if topic == TABLE:
        return "of the table"
    return "of the broker's topics" if topic.startswith("__") else "of changelogs"


class Crowd:
    """The neighbours, in rounds: all work while things die, then all settle and judge."""

    def __init__(self, neighbours: dict[str, Neighbour], rng: random.Random) -> None:
        self.neighbours = neighbours
        self.anomalies: list[Anomaly] = []
        self._rng = rng
        self._stop = threading.Event()
        self._working: list[asyncio.Future[None]] = []

    @classmethod
    def of(cls, broker: str, directory: Path, rng: random.Random) -> Crowd:
        """Everybody."""
        aged = River(broker, "crowd-by-age", Bounds(ms=2500), size=50, cuts=False)
        sized = River(broker, "crowd-by-size", Bounds(bytes=200_000), size=1000, cuts=True)
        neighbours: dict[str, Neighbour] = {
            "compacted": Table(broker),
            "kept by age": aged,
            "kept by size": sized,
            "short lives": Lives(broker, "crowd-lives"),
            "more short lives": Lives(broker, "crowd-more-lives"),
            "other short lives": Lives(broker, "crowd-other-lives"),
        }
        groups = {f"{protocol} group": Group(broker, protocol) for protocol in PROTOCOLS}
        cleanings = {"compactions": Cleanings(directory)}
        return cls(neighbours | groups | cleanings, rng)

    async def prepare(self) -> None:
        """Make the topics."""
        for neighbour in self.neighbours.values():
            await asyncio.to_thread(neighbour.prepare)

    def begin(self) -> None:
        """Everybody works."""
        CALM.end()
        self._stop = threading.Event()
        self._working = [
            asyncio.ensure_future(in_thread(role, self._stop, self._seeded()))
            for neighbour in self.neighbours.values()
            for role in neighbour.roles().values()
        ]

    def struck(self) -> None:
        """The broker was killed just now."""
        for neighbour in self.neighbours.values():
            neighbour.struck()

    async def end(self) -> None:
        """Everybody stops, looks at all there is, and judges."""
        CALM.begin()
        self._stop.set()
        self._take(await asyncio.gather(*self._working, return_exceptions=True))
        self._working = []
        if not self.anomalies:
            settling = (
                asyncio.to_thread(neighbour.settle, self._seeded())
                for neighbour in self.neighbours.values()
            )
            self._take(await asyncio.gather(*settling, return_exceptions=True))
        for neighbour in self.neighbours.values():
            self.anomalies += neighbour.anomalies
            neighbour.anomalies = []

    def _seeded(self) -> random.Random:
        return random.Random(self._rng.getrandbits(32))

    def _take(self, results: list[BaseException | None]) -> None:
        """What stops a neighbour is a finding, or an error of ours."""
        for result in results:
            if isinstance(result, Stalled):
                self.anomalies.append(Anomaly("stalled", "V1", str(result)))
            elif isinstance(result, Refused):
                self.anomalies.append(Anomaly("refused", "P1", str(result)))
            elif result is not None:
                raise result

    def take_anomalies(self) -> list[Anomaly]:
        """What was found since this was last called."""
        found, self.anomalies = self.anomalies, []
        return found

    def check_happened(self, kills: int) -> None:
        """A campaign in which the crowd did nothing has shown nothing."""
        if kills < LONG:
            return
        for name, neighbour in self.neighbours.items():
            for what in neighbour.expected:
                if not neighbour.counts[what]:
                    evidence = f"{name}: no {what} in {kills} kills"
                    self.anomalies.append(Anomaly("idle crowd", "V1", evidence))

    def report(self) -> str:
        """What happened, a line per neighbour."""
        return "\n".join(
            f"  {name}: {told(neighbour.counts)}" for name, neighbour in self.neighbours.items()
        )


async def in_thread(role: Role, stop: threading.Event, rng: random.Random) -> None:
    """Run a role in a thread of its own: a pool would let some wait for others."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def work() -> None:
        error: BaseException | None = None
        try:
            role(stop, rng)
        except BaseException as raised:  # noqa: BLE001 - handed on to who waits
            error = raised
        loop.call_soon_threadsafe(finish, done, error)

    threading.Thread(target=work, daemon=True).start()
    await done


def finish(done: asyncio.Future[None], error: BaseException | None) -> None:
    """Hand the end of a thread on."""
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def told(counts: Counter[str]) -> str:
    """Counts as words."""
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "nothing"
