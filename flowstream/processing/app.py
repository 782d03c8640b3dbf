"""The app: an id, settings and the declarations of topics, tables and agents.

Declares only. A worker runs an app; outside of a worker an app can send records.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.asker import Asker
from flowstream.processing.agents.onlookers import Onlookers
from flowstream.processing.agents.sender import Sender, call_back
from flowstream.processing.declarations.agents import DeclaresAgents
from flowstream.processing.declarations.as_faust import AsFaust
from flowstream.processing.declarations.conf import Ported
from flowstream.processing.declarations.conf import Settings as Conf
from flowstream.processing.declarations.discovering import Packages, discover, wanted
from flowstream.processing.declarations.outboxes import Outbox
from flowstream.processing.declarations.pages import DeclaresPages
from flowstream.processing.declarations.ported import BOUNDS, PORTED, check_bounds, ours
from flowstream.processing.declarations.turning import TURNED, turned
from flowstream.processing.environment.settings import (
    PREFIX,
    SETTINGS,
    Guarantee,
    Settings,
    check_app_id,
    check_version,
    resolve,
)
from flowstream.processing.errors import AppError, SettingsError
from flowstream.processing.events.current import Headers
from flowstream.processing.events.topic import (
    Acknowledged,
    Outgoing,
    RecordMetadata,
    Serializer,
    Topic,
)
from flowstream.processing.instead import missing, telling
from flowstream.processing.tables.set_tables import SetTable
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.windowed_tables import WindowedTable
from flowstream.processing.values.durations import Seconds
from flowstream.state.changelog import changelog_topic
from flowstream.transport.cluster import Cluster
from flowstream.transport.types import NewTopic

if TYPE_CHECKING:
    from flowstream.processing.queries.query import Query
    from flowstream.processing.queries.router import Router

K = TypeVar("K")
V = TypeVar("V")

log = logging.getLogger("flowstream.app")

TESTING = "flowstream.testing"
COMMAND_LINE = "flowstream.cli.app"
WORKER = "flowstream.web.worker"
"""These stand above everything: an app knows their names only, and who needs one loads it."""


class App(AsFaust, DeclaresPages, DeclaresAgents):
    """A stream processing application.

    >>> app = App("shop")
    >>> orders = app.topic("orders", key_type=str, value_type=int)
    >>> totals = app.Table("totals", default=int)
    >>> @app.agent(orders)
    ... async def add(stream):
    ...     async for customer, amount in stream.items():
    ...         totals[customer] += amount
    """

    @telling("App", also=PORTED)
    def __init__(
        self,
        id: str,
        *,
        broker: str | None = None,
        data_dir: str | Path | None = None,
        processing_guarantee: Guarantee | None = None,
        commit_interval: Seconds | None = None,
        session_timeout: Seconds | None = None,
        rebalance_timeout: Seconds | None = None,
        group_instance_id: str | None = None,
        standby_replicas: int | None = None,
        transaction_timeout: Seconds | None = None,
        request_timeout: Seconds | None = None,
        compression: str | None = None,
        max_partition_fetch_bytes: int | None = None,
        topic_partitions: int | None = None,
        replication_factor: int | None = None,
        retry_backoff: Seconds | None = None,
        circuit_breaker: int | None = None,
        purge_interval: Seconds | None = None,
        source_idle: Seconds | None = None,
        stall_warning: Seconds | None = None,
        web_port: int | None = None,
        web_host: str | None = None,
        key_serializer: str | None = None,
        value_serializer: str | None = None,
        version: int = 1,
        id_format: str = "{id}-v{self.version}",
        autodiscover: bool | Packages = False,
        origin: str | None = None,
        **ported: Unpack[Ported],
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name in SETTINGS}
        super().__init__()
        self.name = check_app_id(id)
        self.version = check_version(version)
        self._id_format = id_format
        self.id = self.id_of(version)
        self.settings: Settings = resolve(
            {**arguments, **ours(ported, arguments)}, prefix=ported.get("env_prefix")
        )
        self.env_prefix = ported.get("env_prefix") or PREFIX
        self.bounds: dict[str, Any] = {n: v for n, v in ported.items() if n in BOUNDS}
        for name, value in ported.items():
            if name in TURNED:
                self.settings = turned(name, value, self, "App")
        check_bounds(self.bounds, self.settings, "App")
        self._sender = Sender(self.id, self.settings, Onlookers(self))
        self._is_configured = False
        self._packages = wanted(autodiscover, origin)
        self._router: Router | None = None
        self._make_router: Callable[[], Router] | None = None
        self._askers: dict[str, Asker] = {}

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("App", name, f"{type(self).__name__!r} object")

    def __repr__(self) -> str:
        return f"App({self.id!r})"

    def id_of(self, version: int) -> str:
        """The app's id in a version: its name in the first."""
        if version == 1:
            return self.name
        about = SimpleNamespace(version=version, id=self.name)
        try:
            return check_app_id(self._id_format.format(id=self.name, self=about))
        except (LookupError, AttributeError, ValueError) as error:
            raise SettingsError(
                f"App(id_format={self._id_format!r}): {error!r}; it is a text with {{id}} and"
                " {self.version} in it"
            ) from None

    def configure(self) -> None:
        """Tell those who configure the app (`on_configured`), once, before its worker is made.

        They get `conf`, to assign to.
        """
        if self._is_configured:
            return
        self._is_configured = True
        self.on_before_configured.send()
        self.on_configured.send(self.conf)
        self.discover()
        self.on_after_configured.send()

    def discover(self, *packages: str) -> list[str]:
        """Import packages with all modules below them, for what they declare: these, or without
        any those that autodiscover= names. Gives the modules' names.
        """
        return discover(packages or self._packages)

    @property
    def conf(self) -> Conf:
        """The settings in force, which may be assigned to until the app's worker is made."""
        return Conf(self)

    def change_settings(self, settings: Settings) -> None:
        """Use these from now on: see `conf`, which checks what is assigned."""
        check_bounds(self.bounds, settings, "App")
        self.settings = self._sender.settings = settings

    def send(
        self,
        topic: Topic[Any, Any] | Agent[Any] | str,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
        callback: Acknowledged | None = None,
    ) -> Coroutine[Any, Any, RecordMetadata]:
        """Send a record to a topic, an agent's topic, or the declared topic of that name: see
        `Topic.send`.
        """
        if isinstance(topic, str):
            if topic not in self.topics:
                raise AppError(
                    f"topic {topic!r} is not declared: write app.topic({topic!r}, value_type=...)"
                )
            topic = self.topics[topic]
        return topic.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers,
            key_serializer=key_serializer, value_serializer=value_serializer, callback=callback,
        )  # fmt: skip

    @overload
    def query(self, table: SetTable[K, V]) -> Query[K, set[V]]: ...
    @overload
    def query(self, table: WindowedTable[K, V]) -> Query[K, dict[float, V]]: ...
    @overload
    def query(self, table: Table[K, V]) -> Query[K, V]: ...
    @overload
    def query(self, table: str) -> Query[Any, Any]: ...
    def query(self, table: Any) -> Query[Any, Any]:
        """Read a table's committed rows from anywhere: a web page, a task, another process that has
        this app's module. Workers answer that serve HTTP (`web_port`).
        """
        # What asks over HTTP is imported by those who ask.
        from flowstream.processing.queries.query import Query, queried
        from flowstream.processing.queries.router import Router

        rows = queried(self.id, self.tables, table)
        if self._router is None:
            usual = partial(Router, self.id, lambda: self.settings, self.cluster)
            self._router = (self._make_router or usual)()
        return Query(rows, self.changelog(rows.name), self._router)

    def changelog(self, table: str) -> str:
        """The name of a table's changelog topic."""
        return changelog_topic(self.id, table)

    def repartition(self, name: str) -> str:
        """The name of a repartition topic."""
        return f"{self.id}-{name}-repartition"

    @property
    def dead_letters(self) -> str:
        """The name of the topic for events that agents could not process."""
        return f"{self.id}-dead-letters"

    def connect_to(self, bootstrap: str) -> None:
        """Send to this cluster (HOST:PORT), whatever the settings say."""
        self._sender.connect_to(bootstrap)

    def send_by(self, sender: Sender) -> Sender:
        """Send by this from now on, as a test kit wants it; gives the sender of before."""
        before, self._sender = self._sender, sender
        self._askers = {}  # those of before ask by the one of before
        return before

    def query_by(self, make: Callable[[], Router] | None) -> None:
        """Queries ask by such a router from now on, as a test kit wants it; None: as ever."""
        self._make_router, self._router = make, None

    async def move_to(self, bootstrap: str) -> None:
        """The cluster that `connect_to` named is at another address now."""
        await self._sender.move(bootstrap)

    async def cluster(self) -> Cluster:
        """A connection to the app's cluster, which `close` closes."""
        return await self._sender.cluster()

    async def _make_topic(self, topic: Topic[Any, Any]) -> None:
        if not self.settings.topic_allow_declare:
            return
        known = self.topics.get(topic.name, topic)
        partitions = known.partitions or self.settings.topic_partitions or -1
        await self._sender.declare(
            NewTopic(
                topic.name,
                partitions,
                known.replicas or self.settings.replication_factor,
                known.config,
            )
        )

    async def _send(self, record: Outgoing) -> RecordMetadata:
        sent = await self._sender.send(record)
        await call_back(record.callback, sent)
        return sent

    @property
    def has_work(self) -> bool:
        """Whether it declares anything that a worker does."""
        return bool(self.agents or self.channel_agents or self.chores or self.pages)

    @property
    def leader(self) -> str:
        """The name of the topic that says who leads, in an app that reads no topic."""
        return f"{self.id}-leader"

    @property
    def replies(self) -> str:
        """The name of the topic for replies of agents that are asked."""
        wanted, prefix = self.settings.reply_to, self.settings.reply_to_prefix
        return wanted or (f"{self.id}-replies" if prefix is None else f"{prefix}{self.id}")

    def add_agent(self, agent: Agent[Any]) -> None:
        """Enter an agent under its name, for others to ask."""
        super().add_agent(agent)
        agent.asker = self._ask
        agent.tested_in = self

    def _ask(self, reply_to: str | None) -> Asker:
        topic = reply_to or self.replies
        if topic not in self._askers:
            self._askers[topic] = Asker(topic, self._sender)
        return self._askers[topic]

    def test_context(self, **options: Any) -> Any:
        """The app in memory on virtual time, for a test: a `flowstream.testing.AppContext`, to be
        entered by `with` or `async with`, as in Faust.
        """
        return import_module(TESTING).AppContext(self, **options)

    def Worker(self, **options: Any) -> Any:  # Faust's name
        """A `fs.Worker` of this app, with these options: `app.Worker(loglevel="info")`."""
        return import_module(WORKER).Worker(self, **options)

    def main(self) -> None:
        """The command line of a script, for this app: `python shop.py worker`, as in Faust.

        Exits the process. Without a verb it runs a worker.
        """
        import_module(COMMAND_LINE).run_script(self)

    async def close_outboxes(self) -> None:
        """Close the connections to databases; a later batch opens another."""
        for agent in self.agents.values():
            if isinstance(agent, Outbox):
                await agent.close()

    async def close(self, within: float | None = None) -> None:
        """Close the connections that sends and asks outside of agents, and outboxes, opened. What
        was sent is waited for; what is not acknowledged `within` so many seconds fails.
        """
        await self.close_outboxes()
        while self._askers:
            _, asker = self._askers.popitem()
            await asker.close()
        router, self._router = self._router, None
        if router is not None:
            await router.close()
        await self._sender.close(within)

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
