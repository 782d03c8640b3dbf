"""The agents and outboxes that an app declares. A part of `App`; declares only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, Unpack, cast, overload

from flowstream.outbox.target import Target
from flowstream.processing.agents.agent import Agent, AgentFunction, check_topic
from flowstream.processing.agents.channels import Channel
from flowstream.processing.agents.policies import OnError
from flowstream.processing.agents.sinks import Sink, check_sinks
from flowstream.processing.declarations.channels import DeclaresChannels
from flowstream.processing.declarations.faust_options import AGENT, FaustAgent, agent_policy
from flowstream.processing.declarations.outboxes import Outbox, Store
from flowstream.processing.declaring import (
    Order,
    check_agent_function,
    check_batch,
    check_store,
)
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import AppError
from flowstream.processing.events.schemas import Schema
from flowstream.processing.events.topic import Topic
from flowstream.processing.events.topic_patterns import refuse_pattern
from flowstream.processing.instead import telling
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.values.durations import Seconds, not_negative
from flowstream.processing.values.round_trips import check_kept
from flowstream.transport.cluster import Cluster

V = TypeVar("V")

OUR_ENDINGS = (
    "-changelog", "-repartition", "-setmanager", "-subscriptions", "-answers",
)  # fmt: skip
"""Of topics that the app has for what it keeps, or sends between parts of an agent."""


class AgentOptions(FaustAgent, total=False):
    """What an agent may say beside its topic; see `App.agent`."""

    name: str | None
    sink: Iterable[Sink]
    on_error: OnError
    reply_type: Any
    concurrency: int
    order: Order | None
    help: str | None


def with_help(
    declare: Callable[[AgentFunction[Any]], Agent[Any]], help: str | None
) -> Callable[[AgentFunction[Any]], Agent[Any]]:
    """Declares agents with what is said of them in place of the docstring."""

    def helped(function: AgentFunction[Any]) -> Agent[Any]:
        agent = declare(function)
        agent.help = help or agent.help
        return agent

    return helped


class DeclaresAgents(DeclaresChannels):
    """The part of an app that declares who reads its topics."""

    id: str
    settings: Settings

    @abstractmethod
    async def cluster(self) -> Cluster:
        """A connection to the app's cluster."""

    @overload
    def agent(
        self, topic: Topic[Any, V] | InnerSource[Any, V] | Channel[V], *others: Topic[Any, V],
        **options: Unpack[AgentOptions],
    ) -> Callable[[AgentFunction[V]], Agent[V]]: ...  # fmt: skip
    @overload
    def agent(
        self, *, value_type: type[V], key_type: Any = ..., **options: Unpack[AgentOptions]
    ) -> Callable[[AgentFunction[V]], Agent[V]]: ...
    @overload
    def agent(
        self, *, key_type: Any = ..., schema: Schema | None = ..., **options: Unpack[AgentOptions]
    ) -> Callable[[AgentFunction[Any]], Agent[Any]]: ...
    @telling("App.agent", also=AGENT)
    def agent(
        self,
        topic: Topic[Any, Any] | InnerSource[Any, Any] | Channel[Any] | None = None,
        *others: Topic[Any, Any],
        name: str | None = None,
        sink: Iterable[Sink] = (),
        on_error: OnError | None = None,
        reply_type: Any = None,
        concurrency: int = 1,
        order: Order | None = None,
        help: str | None = None,
        key_type: Any = None,
        value_type: Any = None,
        schema: Schema | None = None,
        **as_faust: Unpack[FaustAgent],
    ) -> Callable[[AgentFunction[Any]], Agent[Any]]:
        """Declare an agent on a topic (or several, of one type), or on what comes due inside the
        app: `Timers`, or the `closed` windows of a table. One instance runs per partition.

        Without a topic it has one of its own, `<app>-<agent>`, for what it is sent, cast or asked,
        of the types given here (or in a `schema`), created as the app's `topic_partitions` say.

        `on_error` says what happens to an event whose processing raises, or that does not decode:
        `stop` the worker with a report, `skip` it, `retry` it with growing pauses (an undecodable
        one stops), or send it to `<app>-dead-letters` in the transaction that passes it; "park" it
        with what follows under its key. `fs.retry` and `fs.park` say how often and how long.
        `reply_type`: what it yields, for those who `ask` it (any JSON unless given).

        With `concurrency=N` a partition has N instances, for agents that await: N of its events are
        worked on side by side, in any order, or with `order="key"` those of a key in their order.
        """
        policy = agent_policy(on_error, self.settings, as_faust)
        if topic is not None and (key_type, value_type, schema) != (None, None, None):
            raise AppError(
                "@app.agent: the types are those of the topic that the agent reads: say them in"
                " app.topic(...), or leave the topic out and the agent has one of its own"
            )
        sinks = check_sinks(sink)
        if isinstance(topic, Channel) and not others:
            made = self._on_channel(topic, name, sinks, policy, concurrency, order, reply_type)
            return with_help(made, help)
        if topic is not None or others:
            check_topic(topic, *others)

        def declare(function: AgentFunction[Any]) -> Agent[Any]:
            named = name or str(getattr(function, "__name__", "agent"))
            check_agent_function(function, named)
            source = topic
            if source is None:
                source = self._own_topic(named, key_type, value_type, schema)
            agent = Agent(
                function, cast("Topic[Any, Any]", source), name=named, sinks=sinks,
                on_error=policy, others=others, reply_type=reply_type, concurrency=concurrency,
                order=order,
            )  # fmt: skip
            agent.has_own_topic = topic is None
            self.add_agent(agent)
            return agent

        return with_help(declare, help)

    actor = agent
    """Faust's older name of it."""

    def _own_topic(
        self, agent: str, key_type: Any, value_type: Any, schema: Schema | None
    ) -> Topic[Any, Any]:
        """The topic of an agent that names none."""
        if agent in ("replies", "dead-letters", "leader") or agent.endswith(OUR_ENDINGS):
            raise AppError(
                f"agent {agent!r} has no topic, and one by its name, {self.id}-{agent}, would be"
                " among those that we make: pass another name=, or declare a topic for it"
            )
        for kind in (key_type, value_type):
            check_kept(kind, f"agent {agent!r}")
        return self.topic(
            f"{self.id}-{agent}", key_type=key_type, value_type=value_type, schema=schema
        )

    @telling("App.outbox")
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
        refuse_pattern(topic, "@app.outbox")
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
