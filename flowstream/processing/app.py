"""The app: an id, settings and the declarations of topics, tables and agents.

Declares only. A worker runs an app; outside of a worker an app can send records.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from flowstream.processing.agent import (
    Agent,
    AgentFunction,
    OnError,
    Sink,
    check_function,
)
from flowstream.processing.declaring import DeclaresTables
from flowstream.processing.errors import AppError
from flowstream.processing.sender import Sender
from flowstream.processing.settings import Guarantee, Settings, check_app_id, resolve
from flowstream.processing.topic import Outgoing, RecordMetadata, Topic

K = TypeVar("K")
V = TypeVar("V")

log = logging.getLogger("flowstream.app")


class App(DeclaresTables):
    """A stream processing application.

    >>> app = App("shop")
    >>> orders = app.topic("orders", key_type=str, value_type=int)
    >>> totals = app.Table("totals", default=int)
    >>> @app.agent(orders)
    ... async def add(stream):
    ...     async for customer, amount in stream.items():
    ...         totals[customer] += amount
    """

    def __init__(
        self,
        id: str,
        *,
        broker: str | None = None,
        data_dir: str | Path | None = None,
        processing_guarantee: Guarantee | None = None,
        commit_interval: float | None = None,
        session_timeout: float | None = None,
        transaction_timeout: float | None = None,
        replication_factor: int | None = None,
        retry_backoff: float | None = None,
        stall_warning: float | None = None,
    ) -> None:
        self.id = check_app_id(id)
        self.settings: Settings = resolve(
            {
                "broker": broker,
                "data_dir": data_dir,
                "processing_guarantee": processing_guarantee,
                "commit_interval": commit_interval,
                "session_timeout": session_timeout,
                "transaction_timeout": transaction_timeout,
                "replication_factor": replication_factor,
                "retry_backoff": retry_backoff,
                "stall_warning": stall_warning,
            }
        )
        self.topics: dict[str, Topic[Any, Any]] = {}
        self.tables = {}
        self.foreign_tables = {}
        self.agents: dict[str, Agent[Any]] = {}
        self._sender = Sender(self.id, self.settings)

    def __repr__(self) -> str:
        return f"App({self.id!r})"

    @overload
    def topic(
        self, name: str, *, key_type: type[K], value_type: type[V], partitions: int | None = ...,
        config: Mapping[str, str] = ...,
    ) -> Topic[K, V]: ...  # fmt: skip
    @overload
    def topic(
        self, name: str, *, value_type: type[V], partitions: int | None = ...,
        config: Mapping[str, str] = ...,
    ) -> Topic[Any, V]: ...  # fmt: skip
    @overload
    def topic(
        self, name: str, *, key_type: type[K], partitions: int | None = ...,
        config: Mapping[str, str] = ...,
    ) -> Topic[K, Any]: ...  # fmt: skip
    @overload
    def topic(
        self, name: str, *, partitions: int | None = ..., config: Mapping[str, str] = ...
    ) -> Topic[Any, Any]: ...
    def topic(
        self,
        name: str,
        *,
        key_type: Any = bytes,
        value_type: Any = Any,
        partitions: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Topic[Any, Any]:
        """Declare a topic. With `partitions` (and `config`) it is created when it is missing.

        `key_type` defaults to bytes as they are, `value_type` to any JSON. The types may be
        pydantic models, msgspec Structs, dataclasses, dict, list, str, bytes, int, float, bool.
        """
        topic: Topic[Any, Any] = Topic(
            name,
            key_type=key_type,
            value_type=value_type,
            partitions=partitions,
            config=config or {},
            send=self._send,
        )
        known = self.topics.setdefault(name, topic)
        if known.partitions is None and partitions is not None:
            known.partitions, known.config = partitions, topic.config
        elif partitions is not None and known.partitions != partitions:
            raise AppError(f"topic {name!r} is declared with {known.partitions} and {partitions}"
                           " partitions")  # fmt: skip
        return topic

    def agent(
        self,
        topic: Topic[Any, V],
        *,
        name: str | None = None,
        sink: Iterable[Sink] = (),
        on_error: OnError = "stop",
    ) -> Callable[[AgentFunction[V]], Agent[V]]:
        """Declare an agent on a topic. One instance runs per partition.

        `on_error` says what happens to an event whose processing raises, or that does not decode:
        `stop` the worker with a report, `skip` it, `retry` it with growing pauses (an undecodable
        one stops), or send it to `<app>-dead-letters` in the transaction that passes it.
        """

        def declare(function: AgentFunction[V]) -> Agent[V]:
            named = name or str(getattr(function, "__name__", "agent"))
            check_function(function, named)
            if named in self.agents:
                raise AppError(f"agent {named!r} is declared twice: pass name= to one of them")
            agent = Agent(function, topic, name=named, sinks=tuple(sink), on_error=on_error)
            self.agents[named] = cast("Agent[Any]", agent)
            return agent

        return declare

    def changelog(self, table: str) -> str:
        """The name of a table's changelog topic."""
        return f"{self.id}-{table}-changelog"

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

    async def move_to(self, bootstrap: str) -> None:
        """The cluster that `connect_to` named is at another address now."""
        await self._sender.move(bootstrap)

    async def _send(self, record: Outgoing) -> RecordMetadata:
        return await self._sender.send(record)

    async def close(self) -> None:
        """Close the connection that sends outside of agents opened, if any."""
        await self._sender.close()

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
