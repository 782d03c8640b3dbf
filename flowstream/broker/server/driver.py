"""The driver: events to the node, effects to disk and connections, turn by turn, and the group
commit.

Lives here: turns, write groups, deadlines, fail-stop. It must not know any request. A turn is what
happens in one round of the event loop: its writes are performed together, and under durability
`fsync` one sync in a thread covers every group that waits; the next group forms meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from flowstream.broker.breadth import elements_allowed
from flowstream.broker.cores import Cores
from flowstream.broker.doors import Operation, Storage
from flowstream.broker.effects import (
    Close,
    Compute,
    Effect,
    Happened,
    LoggedIn,
    Mute,
    Notice,
    Reply,
    Unframed,
    Write,
)
from flowstream.broker.events import Computed, Disconnected, Durable, Event, Request, Tick
from flowstream.broker.metadata.records import MetadataRecord
from flowstream.broker.node import Node
from flowstream.broker.server.computing import ComputeThread
from flowstream.broker.server.connection import Connection
from flowstream.broker.server.counters import Counters
from flowstream.broker.server.limits import connection_memory, memory_there_is
from flowstream.broker.server.metering import Metering
from flowstream.broker.server.relief import Relief
from flowstream.broker.server.syncing import SyncThread
from flowstream.broker.types import ConnectionId, Instant
from flowstream.clock import monotonic_ns
from flowstream.errors import FlowstreamError, WireError

log = logging.getLogger("flowstream.broker")


class Driver:
    """Runs one node on the current event loop. `failed` and `ended` are set when it had to stop
    (D2).
    """

    def __init__(
        self,
        node: Node,
        storage: Storage,
        clock: Callable[[], int],
        *,
        fsync: bool,
        counters: Counters | None = None,
    ) -> None:
        self.turn = 0
        self.counters = counters
        self.sync_since: int | None = None
        """When the sync that is running began, by the monotonic clock in nanoseconds."""
        self.connections: dict[ConnectionId, Connection] = {}
        self.failed: BaseException | None = None
        self._node = node
        self._storage = storage
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._memory = node.cores.memory
        self._memory.most = connection_memory(node.cores.config, memory_there_is())
        self.relief = Relief(self._memory, self.connections, self._loop, counters)
        self.ended: asyncio.Future[BaseException] = self._loop.create_future()
        self._ending = False  # end_turn is scheduled
        self._stopping = False  # no request is taken any more
        self._closed = False  # nothing is written any more: the directory may be a successor's
        self._turn_now: Instant | None = None  # one turn, one time
        self._operations: list[Operation] = []
        self._sending: dict[Connection, None] = {}
        self._sync = SyncThread(storage, self._loop, self._synced) if fsync else None
        self._compute = ComputeThread(
            self._loop, lambda wanted: wanted.connection in self.connections, self._computed
        )
        self._quotas = node.cores.quotas
        self._metering = Metering(self._quotas)
        self._unsynced: set[str] = set()
        self._written_group = 0  # newest group whose operations were performed
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0

    def start(self, records: tuple[MetadataRecord, ...] = ()) -> None:
        """Let the node begin, with these records first: what it writes becomes durable like
        everything else.
        """
        self.carry_out(self._node.start(Instant(self._clock()), records))
        self._schedule_end()

    @property
    def cores(self) -> Cores:
        """What the node consists of, to be looked at."""
        return self._node.cores

    def now(self) -> Instant:
        """The broker's time."""
        return Instant(self._clock())

    @property
    def stopping(self) -> bool:
        """Whether no request is taken any more."""
        return self._stopping

    def elements_allowed(self, key: int) -> int:
        """How many things a request of this API may name by now."""
        return elements_allowed(self._node.cores, key)

    # -- events ---------------------------------------------------------------------------

    def submit(self, event: Event) -> None:
        """Hand an event to the node and do what it wants. A request's views of the receive buffer
        stay valid until `end_turn`.
        """
        if self.failed is not None or self._closed:
            return
        if self._stopping and isinstance(event, Request):
            return
        now = self._turn_now
        if now is None:
            now = self._turn_now = Instant(self._clock())
        try:
            if self._quotas.measure_time and isinstance(event, Request):
                self._measured(event, now)
            else:
                self.carry_out(self._node.handle(event, now))
        except WireError as error:
            self._blame(event, error)
        except Exception as error:  # noqa: BLE001 - the outermost line: a broken invariant stops it
            self.fail(error)
        if not self._ending:
            self._schedule_end()

    def _measured(self, request: Request[object], now: Instant) -> None:
        """Handle a request whose client may have a quota of the loop's time."""
        began = monotonic_ns()
        effects = self._node.handle(request, now)
        throttle_ms = self._metering.handled(request, monotonic_ns() - began, now)
        self.carry_out(effects)
        self._mute(request.to.connection, throttle_ms)

    def _mute(self, id: ConnectionId, milliseconds: int) -> None:
        connection = self.connections.get(id)
        if connection is not None and milliseconds:
            connection.mute(milliseconds)
            if self.counters is not None:
                self.counters.throttled += 1
                self.counters.throttled_ms += milliseconds

    def _blame(self, event: Event, error: WireError) -> None:
        """A peer that breaks the protocol costs itself its connection, nothing else (X4)."""
        if isinstance(event, Request):
            self.carry_out([Close(event.to.connection, f"malformed request: {error}")])
        else:
            self.fail(error)

    def to_send(self, connection: Connection) -> None:
        """Send the connection's answers at the end of this turn."""
        self._sending[connection] = None
        self._schedule_end()

    def closed(self, connection: Connection, reason: str) -> None:
        """Forget a connection that is gone."""
        log.debug("connection %d from %s closed: %s", connection.id, connection.host, reason)
        self.connections.pop(connection.id, None)
        self._sending.pop(connection, None)
        self._metering.gone(connection.id)
        self.submit(Disconnected(connection.id))

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the node wants, in order; operations wait for the end of the turn."""
        for effect in effects:
            if isinstance(effect, Reply):
                connection = self.connections.get(effect.to.connection)
                if connection is not None:
                    body = effect.body
                    if self._quotas.measure_time:
                        body = self._metering.told(connection.id, body)
                    connection.reply(effect.to, body)
            elif isinstance(effect, Write):
                self._operations += effect.operations
                if not self._ending:
                    self._schedule_end()
            elif isinstance(effect, Mute):
                self._mute(effect.connection, effect.milliseconds)
            elif isinstance(effect, Close):
                connection = self.connections.get(effect.connection)
                if connection is not None:
                    self._close(connection, effect)
            elif isinstance(effect, Compute):
                self._compute.start(effect)
            elif isinstance(effect, Notice):
                log.warning("%s", effect.text)
            elif isinstance(effect, Happened):
                log.info("%s", effect.text)
            elif isinstance(effect, LoggedIn):
                connection = self.connections.get(effect.connection)
                if connection is not None:
                    connection.log_in(effect.session)
            elif isinstance(effect, Unframed):
                connection = self.connections.get(effect.connection)
                if connection is not None:
                    connection.expect_tokens()

    def _computed(self, wanted: Compute, result: bytes | BaseException) -> None:
        if isinstance(result, BaseException):
            self.fail(result)
        else:
            self.submit(Computed(wanted.connection, result))

    def _close(self, connection: Connection, wanted: Close) -> None:
        if wanted.after_answers:
            log.warning("connection from %s ends: %s", connection.host, wanted.reason)
            connection.end(wanted.reason)
        else:
            connection.close(wanted.reason)

    # -- turns ----------------------------------------------------------------------------

    def _schedule_end(self) -> None:
        if not self._ending:
            self._ending = True
            self._loop.call_soon(self.end_turn)

    def end_turn(self) -> None:
        """Perform the turn's operations, start a sync, send the answers that are ready."""
        self._ending = False
        self._turn_now = None
        if self._closed:
            return
        began = monotonic_ns() if self._metering.has_requests else 0
        if self.failed is None:
            try:
                self._write()
            except Exception as error:  # noqa: BLE001 - the outermost line, see `submit`
                self.fail(error)
        self.turn += 1
        sending, self._sending = self._sending, {}
        self._memory.read = 0  # its answers are counted, or leave now
        for connection in sending:
            connection.send()
        self.relief.relieve()  # once all were tried: nobody goes for answers that leave (X4)
        if self._metering.has_requests:
            for id, milliseconds in self._metering.ended(monotonic_ns() - began, self.now()):
                self._mute(id, milliseconds)
        if self.failed is None:
            self._arm()

    def _write(self) -> None:
        group = self._node.close_group()
        if group is not None:
            operations, self._operations = self._operations, []
            self._unsynced |= self._storage.perform(operations)
            self._written_group = group
            if self._sync is None:
                # Durability `os`: what the page cache holds counts as durable, as in Kafka. What
                # follows from it is the next turn's: others come in between.
                self._unsynced.clear()
                now = Instant(self._clock())
                self.carry_out(self._node.handle(Durable(group), now))
        if (
            self._sync is not None
            and not self._sync.busy
            and self._written_group > self._sync.group
        ):
            paths, self._unsynced = self._unsynced, set()
            self.sync_since = monotonic_ns()
            self._sync.start(paths, self._written_group)

    def _synced(self, group: int, error: BaseException | None) -> None:
        if self.counters is not None and self.sync_since is not None:
            self.counters.syncs.add(monotonic_ns() - self.sync_since)
        self.sync_since = None
        if error is not None:
            self.fail(error)
            return
        self.submit(Durable(group))

    # -- deadlines ------------------------------------------------------------------------

    def _arm(self) -> None:
        deadline = self._node.deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        delay = max(0, deadline - self._clock()) / 1000
        self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._turn_now = None  # not a moment before the deadline
        self.submit(Tick())

    # -- the end --------------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """Fail-stop: answer nothing more, whatever is in memory. Only a restart knows again what is
        on disk (D2).
        """
        if self.failed is not None:
            return
        self.failed = error
        if isinstance(error, FlowstreamError):
            log.critical("the broker stops: %s", error)
        else:
            log.critical("the broker stops: a broken invariant", exc_info=error)
        self._operations = []
        for connection in list(self.connections.values()):
            connection.close("the broker failed")
        self.ended.set_result(error)

    def fail_soon(self, error: BaseException) -> None:
        """Like `fail`, from any thread: what was written in the background is not as it should be.
        Not once everything is on disk and closed.
        """
        with suppress(RuntimeError):  # the loop is closed: there is nothing to stop any more
            self._loop.call_soon_threadsafe(self._failed, error)

    def _failed(self, error: BaseException) -> None:
        if not self._closed:
            self.fail(error)

    async def stop(self) -> None:
        """Close the connections and the logs cleanly; everything written is on disk afterwards.
        After a failure nothing is written or waited for: the disk may never answer.
        """
        if self._stopping:
            return
        self._stopping = self.cores.is_ending = True
        self._compute.end()
        if self._timer is not None:
            self._timer.cancel()
        self.end_turn()
        while self.failed is None and self._sync is None and self._ending:
            self.end_turn()
        while self.failed is None and self._sync is not None and self._sync.busy:
            await self._sync.idle()
            self.end_turn()  # what was taken in is answered
        for connection in list(self.connections.values()):
            connection.close("the broker stops")
        self.relief.flush()
        if self.failed is None:
            self.carry_out(self._node.stop(Instant(self._clock())))
            while (group := self._node.close_group()) is not None:
                operations, self._operations = self._operations, []
                self._storage.sync(self._unsynced | self._storage.perform(operations))
                self.carry_out(self._node.handle(Durable(group), Instant(self._clock())))
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._sync is not None:
            self._sync.end()
