"""Outboxes: agents that give the events of a topic to a database, exactly once.

Shell. What the database has is decided in its own transaction (`outbox/applying`); the unit then
passes the events, and may do so again after a crash. One thread per outbox and worker has the
connection, so that a slow database holds up the outbox's partitions and nobody else.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from flowstream.clock import monotonic_ms
from flowstream.outbox.applying import (
    Checkpoint,
    Standing,
    UnknownPlace,
    apply,
    begin,
    put_aside,
    refused,
)
from flowstream.outbox.lane import Lane
from flowstream.outbox.target import OutboxRefused, Place, PlaceHeld, Session, Target
from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.policies import OnError, Policy, Then, policy_of
from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import CURRENT
from flowstream.processing.events.event import Event
from flowstream.processing.events.redriven import PassedBy
from flowstream.processing.events.topic import Topic
from flowstream.processing.streams.stream import NO_VALUE, Stream
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster, backoffs
from flowstream.transport.outage import Outage
from flowstream.transport.types import TopicPartition

if TYPE_CHECKING:
    from flowstream.processing.running.instance import Instance

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger("flowstream.agent")

CLOSE_TIMEOUT_S = 5.0
PATIENCE_MS = 1_000
"""So long another may have a place without a line in the log: a worker that ends, say."""

Store = Callable[[Any, list[Event[T]]], object]
Connect = Callable[[], Awaitable[Cluster]]


class PutAside(Exception):
    """An event that had no effect in an earlier try; the message is why."""


@dataclass(frozen=True, slots=True)
class Illegible:
    """In place of a key or a value that does not decode: the record has its turn all the same."""

    error: Exception


def legible(topic: Topic[Any, T]) -> Topic[Any, T]:
    """The topic as one all of whose records can be read."""
    twin = copy.copy(topic)
    twin.key_codec, twin.value_codec = tolerant(topic.key_codec), tolerant(topic.value_codec)
    return twin


def tolerant(codec: Codec[Any]) -> Codec[Any]:
    """A codec that gives Illegible for what does not decode, and takes tombstones."""

    def decode(data: bytes) -> Any:
        try:
            return codec.decode(data)
        except DECODE_ERRORS as error:
            return Illegible(error)

    return replace(codec, decode=decode, nullable=True)


def no_effect(connection: object, events: object) -> None:
    """What becomes of records that were sent back to other agents: the database passes them."""


def no_checkpoint(step: str) -> None:
    """Go on."""


class Outbox(Agent[T], Generic[T]):
    """See `App.outbox`. As a sink of another agent it gets, through its topic, what that yields."""

    sees_all = True
    """The database goes on behind every record that the app is done with."""

    is_end = True

    def __init__(
        self, store: Store[T], topic: Topic[Any, T], target: Target, *, name: str, app: str,
        cluster: Connect, on_error: OnError, batch: int, within: float,
    ) -> None:  # fmt: skip
        self.rule = policy_of(on_error, name)
        if self.rule.action == "park":
            raise AppError(
                f"outbox {name!r} cannot park events, as their order in the database would be lost:"
                " use fs.retry(..., then='dead_letter')"
            )
        if isinstance(target, type) or not callable(getattr(target, "connect", None)):
            raise AppError(
                f"outbox {name!r}: to= is a database, fs.SQLite(path) or fs.PostgreSQL(conninfo),"
                f" not {described(target)}"
            )
        if topic.event_ms is not None:
            raise AppError(
                f"outbox {name!r} cannot read topic {topic.name!r}, whose event time is in its"
                " values: send the events on to a topic without timestamp=, and have it read that"
            )
        unit = unit_policy(self.rule)
        super().__init__(self._run, legible(topic), name=name, sinks=(), on_error=unit)
        self._is_nullable = topic.value_codec.nullable
        self.checkpoint: Checkpoint = no_checkpoint
        """Called with the name of each step of a transaction; crash tests stop there."""
        self.store = store
        self.target = target
        self._app = app
        self._cluster = cluster
        self._batch = batch
        self._within = within
        self._topic_ids: dict[str, str] = {}
        self._in_a_row: Counter[tuple[str, int]] = Counter()
        self._lane: Lane | None = None
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"Outbox({self.name!r})"

    async def close(self) -> None:
        """Let the connection go."""
        lane, self._lane = self._lane, None
        if lane is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(lane, self._disconnect)
        lane.end()
        with suppress(TimeoutError):
            await asyncio.wait_for(closing, CLOSE_TIMEOUT_S)

    def write_to(self, target: Target) -> Target:
        """From now on to another database, while no worker has it; gives the one before."""
        self._disconnect()
        self._topic_ids.clear()
        before, self.target = self.target, target
        return before

    # -- units ----------------------------------------------------------------------------------

    async def _run(self, stream: Stream[T]) -> None:
        async for events in stream.take_events(self._batch, self._within):
            instance = cast("Instance", CURRENT.get())
            others = [each for each in instance.unit_records if isinstance(each, PassedBy)]
            store_of = partial(self._store_of, {each.offset for each in others})
            try:
                for store, run in groupby(events, store_of):
                    await self._deliver(instance, list(run), store)
            except OutboxRefused as error:
                await instance.stop_at(error, events[0].offset)
            for each in others:
                instance.tell_lost(each)

    def _store_of(self, others: Set[int], event: Event[T]) -> Store[T] | None:
        """What does with an event whatever is done, None where it cannot be read."""
        if event.offset in others:
            return no_effect
        if isinstance(event.key, Illegible) or isinstance(event.value, Illegible):
            return None
        return self.store if event.value is not None or self._is_nullable else None

    async def _deliver(
        self, instance: Instance, events: Sequence[Event[T]], store: Store[T] | None
    ) -> None:
        if store is None:
            for event in events:
                await self._pass_illegible(instance, event)
            return
        try:
            await self._give(instance, events, store)
        except OutboxRefused:
            raise
        except Exception as error:  # noqa: BLE001 - of the user's function, or of the database
            log.warning("%s: %s: the events go one by one", instance.label, error)
            for event in events:
                await self._deliver_one(instance, event, store)

    async def _pass_illegible(self, instance: Instance, event: Event[T]) -> None:
        told = (each for each in (event.key, event.value) if isinstance(each, Illegible))
        error = next((each.error for each in told), ValueError(NO_VALUE))
        if self._last_resort == "stop":
            await instance.stop_at(error, event.offset)
        await self._put_aside(instance, event, error)

    async def _deliver_one(self, instance: Instance, event: Event[T], store: Store[T]) -> None:
        """Until it is in the database, or given up by the policy."""
        failures = 0
        at = (event.topic, event.partition)
        while True:
            try:
                await self._give(instance, [event], store)
            except OutboxRefused:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                failures += 1
                if self.rule.action == "retry" and not self.rule.is_spent(failures):
                    pass
                elif self._last_resort == "stop":
                    await instance.stop_at(error, event.offset)
                elif not instance.opens_circuit(self._in_a_row[at] + 1):
                    # What cannot be put aside either is not the event's fault: the unit fails.
                    await self._put_aside(instance, event, error)
                    self._in_a_row[at] += 1
                    return
                instance.around.counts.retried += 1
                log.warning("%s: offset %d will be retried (%d): %s", instance.label,
                            event.offset, failures, error)  # fmt: skip
                pause_s = instance.around.settings.retry_backoff
                await asyncio.sleep(self.rule.pause_s(failures, pause_s))
            else:
                self._in_a_row[at] = 0
                return

    @property
    def _last_resort(self) -> Then:
        return cast("Then", self.rule.then if self.rule.action == "retry" else self.rule.action)

    async def _give(self, instance: Instance, events: Sequence[Event[T]], store: Store[T]) -> None:
        at = await self._standing(instance, events[0].partition, events[0].topic)
        aside = await self._at(
            at, lambda session, at: apply(session, at, events, store, self.checkpoint)
        )
        for event in events if aside else ():
            if event.offset in aside:
                self._pass(instance, event, PutAside(aside[event.offset]))

    async def _put_aside(self, instance: Instance, event: Event[T], error: Exception) -> None:
        at = await self._standing(instance, event.partition, event.topic)
        # A database takes no half of a character, as a value of JSON may hold it.
        told = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
        await self._at(at, lambda session, at: put_aside(session, at, event.offset, told))
        self._pass(instance, event, error)

    def _pass(self, instance: Instance, event: Event[T], error: Exception) -> None:
        """The unit passes over an event that has no effect."""
        record = next(each for each in instance.unit_records if each.offset == event.offset)
        action = "skip" if self._last_resort == "skip" else "dead_letter"
        instance.pass_over([record], error, action)

    async def _standing(self, instance: Instance, partition: int, topic: str) -> Standing:
        if topic not in self._topic_ids:
            self._topic_ids[topic] = await self._identify(topic)
        place = Place(self._app, self.name, topic, partition)
        return Standing(place, self._topic_ids[topic], instance.source.position)

    async def _at(self, at: Standing, work: Callable[[Session, Standing], R]) -> R:
        """Do something at a place; where the database does not know it, only if the app is new
        there too.
        """
        try:
            return await self._entered(at, work)
        except UnknownPlace:
            # Asked for now, not remembered: a database may be changed for another at any time.
            done = await self._done(TopicPartition(at.place.topic, at.place.partition))
        why = None if done is None else refused(at._replace(position=done), None)
        if why is not None:
            raise why
        return await self._entered(at._replace(is_new=True), work)

    async def _entered(self, at: Standing, work: Callable[[Session, Standing], R]) -> R:
        """Do something at a place; waits while somebody else is there, and says who. That is no
        event's fault, and other partitions have their turns meanwhile.
        """
        outage, began_ms = Outage(), monotonic_ms()
        for pause_s in backoffs():
            try:
                done = await self._in_session(lambda session: work(session, at))
            except PlaceHeld as error:
                now_ms = monotonic_ms()
                if now_ms - began_ms >= PATIENCE_MS and outage.goes_on(now_ms):
                    log.warning("%s by %s, which may be that of a worker that is stopped, or is"
                                " busy: waiting for its end",
                                error, await self._holder(at.place))  # fmt: skip
                await asyncio.sleep(pause_s)
            else:
                break
        if outage.lasts:
            log.warning("%s: its row is free, after %.1f s",
                        at.where, (monotonic_ms() - began_ms) / 1000)  # fmt: skip
        return done

    async def _holder(self, place: Place) -> str:
        return await self._in_session(lambda session: session.holder(place))

    async def _identify(self, topic: str) -> str:
        """The id of a topic as hex, empty where the cluster has none."""
        found = (await Admin(await self._cluster()).topics([topic])).get(topic)
        return found.topic_id.hex() if found is not None and any(found.topic_id) else ""

    async def _done(self, tp: TopicPartition) -> int | None:
        """Up to where the app is done with events that are there, if it is with any: it commits a
        partition's beginning, too, along with what else a task reads.
        """
        admin = Admin(await self._cluster())
        done = (await admin.committed(self._app, [tp])).get(tp)
        if done is None or done <= (await admin.beginning_offsets([tp]))[tp]:
            return None
        return done

    async def begin(self, *, execute: bool) -> list[OutboxRefused]:
        """Let the database go on from where the app is, in the partitions where it would be refused
        now; gives what it would have been refused for. Without `execute` nothing is changed.
        """
        topic, admin = self.topic.name, Admin(await self._cluster())
        found = (await admin.topics([topic])).get(topic)
        tps = [TopicPartition(topic, n) for n in range(found.partitions if found else 0)]
        done, starts = await admin.committed(self._app, tps), await admin.beginning_offsets(tps)
        topic_id, met = await self._identify(topic), []
        for tp in tps:
            at, place = done[tp] or 0, Place(self._app, self.name, topic, tp.partition)
            start = starts[tp]
            standing = Standing(place, topic_id, max(at, start), is_new=at <= start)
            why = await self._in_session(partial(begin, at=standing, execute=execute))
            if why is not None:
                met.append(why)
        return met

    # -- the thread of the connection -----------------------------------------------------------

    async def _in_session(self, work: Callable[[Session], R]) -> R:
        if self._lane is None:
            self._lane = Lane(f"outbox-{self.name}")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lane, self._with_session, work)

    def _with_session(self, work: Callable[[Session], R]) -> R:
        if self._session is not None and self._session.is_broken:
            self._disconnect()
        if self._session is None:
            self._session = self.target.connect()
        return work(self._session)

    def _disconnect(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def unit_policy(rule: Policy) -> Policy:
    """What becomes of a unit that fails as a whole: events are given up one by one, above; so it is
    tried again for as long as the database is away, unless the worker is to stop.
    """
    if rule.action == "stop":
        return rule
    then = rule.then if rule.action == "retry" else cast("Then", rule.action)
    return Policy("retry", None, rule.backoff_s, rule.longest_s, then)
