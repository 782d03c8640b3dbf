"""The agents and outboxes that an app declares. A part of `App`; declares only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from flowstream.outbox.target import Target
from flowstream.processing.agents.agent import (
    Agent,
    AgentFunction,
    Sink,
    check_sinks,
    check_topic,
)
from flowstream.processing.agents.channels import Channel
from flowstream.processing.agents.policies import OnError
from flowstream.processing.declarations.channels import DeclaresChannels
from flowstream.processing.declarations.outboxes import Outbox, Store
from flowstream.processing.declaring import Order, check_agent_function, check_batch, check_store
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.values.durations import Seconds, not_negative
from flowstream.transport.cluster import Cluster

V = TypeVar("V")


class DeclaresAgents(DeclaresChannels):
    """The part of an app that declares who reads its topics."""

    @abstractmethod
    async def cluster(self) -> Cluster:
        """A connection to the app's cluster."""

    def agent(
        self,
        topic: Topic[Any, V] | InnerSource[Any, V] | Channel[V],
        *others: Topic[Any, V],
        name: str | None = None,
        sink: Iterable[Sink] = (),
        on_error: OnError = "stop",
        reply_type: Any = None,
        concurrency: int = 1,
        order: Order | None = None,
        isolated_partitions: bool = True,
    ) -> Callable[[AgentFunction[V]], Agent[V]]:
        """Declare an agent on a topic (or several, of one type), or on what comes due inside the
        app: `Timers`, or the `closed` windows of a table. One instance runs per partition.

        `on_error` says what happens to an event whose processing raises, or that does not decode:
        `stop` the worker with a report, `skip` it, `retry` it with growing pauses (an undecodable
        one stops), or send it to `<app>-dead-letters` in the transaction that passes it; "park" it
        with what follows under its key. `fs.retry` and `fs.park` say how often and how long.
        `reply_type`: what it yields, for those who `ask` it (any JSON unless given).

        With `concurrency=N` a partition has N instances, for agents that await: N of its events are
        worked on side by side, in any order, or with `order="key"` those of a key in their order.
        `isolated_partitions` is always so: partitions never share an instance.
        """

        if isolated_partitions is not True:
            raise AppError(
                "isolated_partitions cannot be turned off: each partition has its own instances, so"
                " that it can move to another worker alone. Leave it out"
            )
        sinks = check_sinks(sink)
        if isinstance(topic, Channel) and not others:
            return self._on_channel(topic, name, sinks, on_error, concurrency, order, reply_type)
        check_topic(topic, *others)

        def declare(function: AgentFunction[V]) -> Agent[V]:
            named = name or str(getattr(function, "__name__", "agent"))
            check_agent_function(function, named)
            agent = Agent(
                function,
                cast("Topic[Any, V]", topic),
                name=named,
                sinks=sinks,
                on_error=on_error,
                others=others,
                reply_type=reply_type,
                concurrency=concurrency,
                order=order,
            )
            self.add_agent(cast("Agent[Any]", agent))
            return agent

        return declare

    def outbox(
        self,
        topic: Topic[Any, V],
        *,
        to: Target,
        name: str | None = None,
        on_error: OnError = "stop",
        batch: int = 500,
        within: Seconds = 0.0,
    ) -> Callable[[Store[V]], Outbox[V]]:
        """Declare an outbox: give a topic's events to a database, each exactly once.

        The function gets the driver's connection and a list of events in their order: up to `batch`
        of those that are here, or that come `within` a time; what it does commits together with
        their position. It is a plain function, runs in a thread, and must not commit. As a `sink=`
        of an agent the outbox gets what that yields. `to`: `fs.SQLite(...)`, `fs.PostgreSQL(...)`.
        """
        check_topic(topic)
        if not isinstance(topic, Topic):
            raise AppError("@app.outbox reads a topic: have an agent send there what it gets")
        check_batch(batch)
        within_s = not_negative("@app.outbox: within", within) / 1000

        def declare(function: Store[V]) -> Outbox[V]:
            named = name or str(getattr(function, "__name__", "outbox"))
            outbox = Outbox(
                check_store(function, named), topic, to, name=named, app=self.id,
                cluster=self.cluster, on_error=on_error, batch=batch, within=within_s,
            )  # fmt: skip
            self.add_agent(cast("Agent[Any]", outbox))
            return outbox

        return declare
