"""An app under test: its workers, a broker and time, all in memory and in the test's hands.

Shell. What runs is production's worker and production's broker node; only time, the network, the
slots and the group member are twins. Between two calls of a test everything stands still.
"""

from __future__ import annotations

import asyncio
import datetime
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from flowstream.errors import FlowstreamError
from flowstream.processing.agents.onlookers import Onlookers
from flowstream.processing.agents.sender import Sender
from flowstream.processing.app import App
from flowstream.processing.events.topic import Outgoing, RecordMetadata, Topic
from flowstream.processing.events.topic_patterns import TopicPattern
from flowstream.processing.tables.table import Table
from flowstream.testing.crew import FETCH_WAIT_MS, PATIENCE_S, Crew
from flowstream.testing.databases import Databases, Given
from flowstream.testing.lives import STEPS, Life, LifeDoors
from flowstream.testing.memory_broker import HOST, MemoryBroker, MemoryCluster, Network
from flowstream.testing.memory_fetching import Rest
from flowstream.testing.places import Places
from flowstream.testing.tables import TableView, table_view
from flowstream.testing.topics import DeadLetters, TopicBox, by_pattern, undeclared
from flowstream.testing.virtual import VirtualLoop
from flowstream.transport.types import NewTopic

if TYPE_CHECKING:
    from flowstream.processing.queries.router import Router

T = TypeVar("T")

START_MS = 1_000_000_000_000
"""2001-09-09, 01:46:40 UTC."""
SESSION_TIMEOUT_S = 86_400.0


ONLY_INSIDE = (
    "a test context is open only inside its block: with app.test_context() as context: ..."
)


class AppContext:
    """An app that runs in memory while the block lasts; see `App.test_context`.

    `workers` of them share the partitions. `start` is the wall clock's time at the beginning
    (seconds, or a datetime). Times and durations are in seconds. `databases`: by outbox or its
    name, an empty one for this test, or a function that makes one; a SQLite file of the test's own
    takes the place of those that are declared, and others have to be named.
    """

    __test__ = False

    def __init__(
        self,
        app: App,
        *,
        workers: int = 1,
        start: float | datetime.datetime = START_MS / 1000,
        seed: int = 0,
        broker_settings: Mapping[str, str] | None = None,
        databases: Given | None = None,
    ) -> None:
        if workers < 0:
            raise ValueError(f"a test context has 0 workers or more, not {workers}")
        if not isinstance(start, (int, float, datetime.datetime)):
            raise TypeError(f"start= is seconds since 1970 or a datetime, not {start!r}")
        self.app = app
        self._count = workers
        self._seed = seed
        self._broker_settings = broker_settings
        self._given = databases or {}
        started = start.timestamp() if isinstance(start, datetime.datetime) else start
        self._start_ms = round(started * 1000)
        self._again: Callable[[], App] | None = None
        """Makes the app of a worker that starts after a kill; without it that is the same."""
        self._loop: VirtualLoop | None = None
        self._is_closed = False

    # -- the block ------------------------------------------------------------------------------

    def __enter__(self) -> AppContext:
        """Start broker and workers; ready when this returns."""
        if self._loop is not None:
            raise RuntimeError("a test context is entered once: make another")
        self.app.configure()
        loop, rng = VirtualLoop(self._start_ms), random.Random(self._seed)
        try:
            with loop.entered():
                self.broker = MemoryBroker(loop, rng, self._broker_settings)
            self._boxes: dict[int | str, TopicBox[Any, Any]] = {}
            self.places = Places(rng, lambda: loop.now_ms)
            self._network = Network()
            self.cluster = MemoryCluster(self.broker, self._network, "test")
            settings = replace(
                self.app.settings,
                commit_interval=0.0,
                session_timeout=SESSION_TIMEOUT_S,
                purge_interval=SESSION_TIMEOUT_S,
            )
            self._workers = Crew(
                self.app, self.broker, self._network, self.places, settings, self._reborn
            )
            self._doors = LifeDoors(self.broker, self._network, self.places, Rest(), FETCH_WAIT_MS)
            # The last that may fail: it changes the app, and `close` changes it back.
            self._databases = Databases(self.app, self._given)
        except BaseException:
            loop.close()
            raise
        self._loop = loop
        self._sender = self.app.send_by(_ContextSender(self.app, self._doors, self))
        try:
            self.app.query_by(self._router)
            for _ in range(self._count):
                self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the workers."""
        self.close(graceful=error is None)

    async def __aenter__(self) -> AppContext:
        """As a plain block: nothing has to be awaited."""
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """As a plain block."""
        self.__exit__(kind, error, trace)

    def close(self, *, graceful: bool = False) -> None:
        """Stop the workers and forget everything; closing twice is allowed."""
        if self._loop is None or self._is_closed:
            return
        loop = self._loop
        try:
            if graceful:
                self._on_loop(self._crew.stop(list(self._crew.lives)))
        finally:
            self._is_closed = True
            self.app.send_by(self._sender)
            self.app.query_by(None)
            loop.quiet = lambda: False
            for life in self._crew.lives:
                life.running.cancel()
            with loop.entered():
                left = loop.pending()
                for task in left:
                    task.cancel()
                if left:
                    loop.run_until_complete(asyncio.wait(left, timeout=5.0))
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()
            self._databases.close()

    # -- time -----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The wall clock of the workers and the broker."""
        return self._running().now_ms / 1000

    def advance(self, seconds: float | datetime.timedelta) -> None:
        """Let time pass: timers, crontabs, retries and pauses come when they are due, in order."""
        if isinstance(seconds, datetime.timedelta):
            seconds = seconds.total_seconds()
        if seconds < 0:
            raise ValueError(f"time goes forward only, not by {seconds} s")
        loop = self._running()
        self._on_loop(asyncio.sleep(loop.time() + seconds - loop.time()))
        self.settle()

    def settle(self, patience: float = PATIENCE_S) -> None:
        """Until everything that was sent is processed and committed.

        Time passes only while an agent is in the middle of an event, `patience` seconds at most
        (then StillBusy). Raises what ended a worker.
        """
        self._on_loop(self._crew.settle(patience))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the context's loop, such as `agent.ask(...)`, and let it settle."""
        result = self._on_loop(work)
        self.settle()
        return result

    # -- topics and tables ----------------------------------------------------------------------

    def topic(self, topic: Topic[Any, Any] | str) -> TopicBox[Any, Any]:
        """A topic as a list: what is committed of it, decoded; and `send` puts something in."""
        self._check_entered()
        is_declared = not isinstance(topic, str) or topic in self.app.topics
        is_matched = False
        if isinstance(topic, str):
            read = None if is_declared else by_pattern(self.app, topic)
            is_matched = read is not None
            topic = self.app.topics.get(topic) or read or undeclared(self, topic)
        elif isinstance(topic, TopicPattern):
            raise FlowstreamError(
                f"{topic!r} is no one topic: use one that it matches, context.topic('NAME')"
            )
        # Another declaration of the topic, with other types, sees it by these.
        key = id(topic) if is_declared else topic.name
        box = self._boxes.get(key)
        if box is None:
            box = TopicBox(self, topic, is_declared=is_declared, is_matched=is_matched)
            self._boxes[key] = box
        return box

    @property
    def dead_letters(self) -> DeadLetters:
        """What agents could not process, with the reasons."""
        return DeadLetters(self)

    def table(self, table: Table[Any, Any] | Any) -> TableView:
        """What is committed of a table."""
        self._check_entered()
        return table_view(self, table)

    def database(self, outbox: object) -> Any:
        """The driver's connection to what an outbox writes: a `sqlite3.Connection` to the test's
        own file, which is empty at first, or one to the database that `databases=` names.
        """
        self._check_entered()
        return self._databases.connection(outbox)

    # -- workers --------------------------------------------------------------------------------

    @property
    def crashes(self) -> int:
        """How often a worker was killed."""
        return self._crew.crashes

    @property
    def commits(self) -> int:
        """How many transactions were committed."""
        return self._crew.commits

    @property
    def workers(self) -> int:
        """How many workers live."""
        return len(self._crew.lives)

    @property
    def assignment(self) -> list[list[str]]:
        """The tasks of each worker, as partition/partitions."""
        return [sorted(life.worker.tasks) for life in self._crew.lives]

    def start(self) -> None:
        """Start one more worker; it gets its share of the partitions."""
        self._crew.begin()
        self.settle()

    def stop(self, worker: int = 0) -> None:
        """Stop a worker gracefully; the others take over what it had."""
        self._on_loop(self._crew.stop([self._life(worker)]))
        self.settle()

    def crash(self, worker: int | None = None, *, restart: bool = True) -> None:
        """Kill a worker (all of them) where it stands, and start it again in the same slot.

        An agent may call this in the middle of an event, too.
        """
        doomed = list(self._crew.lives) if worker is None else [self._life(worker)]
        for life in doomed:
            self._crew.kill(life, restart=restart)
        if not self._running().is_running():
            self.settle()

    def crash_at(self, step: str, *, times: int = 1, restart: bool = True) -> None:
        """Kill the worker that comes to this step of a commit (close, begin, produce, offsets, end,
        store, done) for the `times`-th time from now, just before it takes it.
        """
        if step not in STEPS:
            raise ValueError(f"{step!r} is no step of a commit: use one of {', '.join(STEPS)}")
        if times < 1:
            raise ValueError(f"crash_at counts steps from 1 on, not {times}")
        self._crew.crash_at(step, times, restart=restart)

    def crash_after(self, events: int, *, restart: bool = True) -> None:
        """Kill the first worker that has taken so many events more. Until then it commits nothing,
        so that it has to do them all again.
        """
        if events < 1:
            raise ValueError(f"crash_after counts events from 1 on, not {events}")
        self._crew.crash_after(events, restart=restart)

    def lose_state(self) -> None:
        """Kill all workers and delete what their machine keeps: tables come from changelogs."""
        for life in list(self._crew.lives):
            self._crew.kill(life, restart=False)
        self.places.lose()
        while len(self._crew.lives) < self._count:
            self._crew.begin()
        self.settle()

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _crew(self) -> Crew:
        self._check_entered()
        return self._workers

    def _life(self, worker: int) -> Life:
        lives = self._crew.lives
        if not 0 <= worker < len(lives):
            raise ValueError(
                f"there is no worker {worker}: {len(lives)} live, and the first of them is 0"
            )
        return lives[worker]

    def _reborn(self) -> App:
        """The app of a worker that starts after a kill."""
        if self._again is None:
            return self.app
        app = self._again()
        app.configure()
        self._databases.adopt(app)
        app.send_by(_ContextSender(app, self._doors, self))
        app.query_by(self._router)
        return app

    def _router(self) -> Router:
        from flowstream.testing.asking import ContextRouter

        return ContextRouter(self.app, self.cluster, self._running(), self._crew.lives)

    def _check_entered(self) -> None:
        if self._loop is None:
            raise RuntimeError(ONLY_INSIDE)

    def _running(self) -> VirtualLoop:
        if self._loop is None or self._is_closed:
            raise RuntimeError(ONLY_INSIDE)
        return self._loop

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._running().run(work)
        except BaseException:
            work.close()
            raise


class _ContextSender(Sender):
    """What the app sends outside of agents goes to the broker in memory, at virtual time."""

    def __init__(self, app: App, doors: LifeDoors, context: AppContext) -> None:
        super().__init__(app.id, app.settings, Onlookers(app), doors)
        self.connect_to(f"{HOST}:1")
        self._context = context

    async def send(self, record: Outgoing) -> RecordMetadata:
        """Send one record, from the test or from what runs in the context."""
        return await self._there(super().send(record))

    async def declare(self, topic: NewTopic) -> None:
        """Create a topic, from the test or from what runs in the context."""
        await self._there(super().declare(topic))

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._context._running()
        if asyncio.get_running_loop() is loop:
            return await work
        done = loop.run(work)
        self._context.settle()
        return done
