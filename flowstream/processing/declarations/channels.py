"""The channels that an app declares, and the agents on them. A part of `App`; declares only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

from flowstream.processing.agents.agent import AgentFunction
from flowstream.processing.agents.channel_agents import ChannelAgent
from flowstream.processing.agents.channels import Channel
from flowstream.processing.agents.policies import OnError
from flowstream.processing.agents.sinks import Sink
from flowstream.processing.declarations.topics import DeclaresTopics
from flowstream.processing.declaring import Order, check_agent_function
from flowstream.processing.errors import AppError
from flowstream.processing.instead import telling

V = TypeVar("V")


class DeclaresChannels(DeclaresTopics):
    """The part of an app that declares channels."""

    def __init__(self) -> None:
        super().__init__()
        self.channel_agents: dict[str, ChannelAgent[Any]] = {}

    @overload
    def channel(
        self, *, value_type: type[V], key_type: type[Any] | None = ..., maxsize: int | None = ...
    ) -> Channel[V]: ...
    @overload
    def channel(
        self, *, key_type: type[Any] | None = ..., maxsize: int | None = ...
    ) -> Channel[Any]: ...
    @telling("App.channel")
    def channel(
        self, *, value_type: Any = None, key_type: Any = None, maxsize: int | None = None
    ) -> Channel[Any]:
        """Make a channel: values from one part of the app to another, in the memory of this worker.

        `put` into it, and read it with an agent, `async for event in channel`, or `stream()`; each
        of them gets everything. What an agent on a topic puts is there once its event is committed.
        A channel gives a value at most once: what is in it is lost with the worker. Putting waits
        while `maxsize` (4,096) events wait for a listener. The types are checked where they are
        given.
        """
        self.has_channels = True
        return Channel(
            key_type=key_type, value_type=value_type, maxsize=maxsize,
            is_late=lambda: self.has_worker,
        )  # fmt: skip

    def _on_channel(
        self, channel: Channel[V], name: str | None, sinks: tuple[Sink, ...], on_error: OnError,
        concurrency: int, order: Order | None, reply_type: Any,
    ) -> Callable[[AgentFunction[V]], Any]:  # fmt: skip
        """What `App.agent` gives for a channel."""
        if order is not None or reply_type is not None:
            raise AppError(
                f"an agent on {channel!r} has no order among its instances, and nobody can ask it:"
                " leave order= and reply_type= out, or have it read a topic"
            )

        def declare(function: AgentFunction[V]) -> ChannelAgent[V]:
            named = name or str(getattr(function, "__name__", "agent"))
            check_agent_function(function, named)
            if named in self.agents or named in self.channel_agents:
                raise AppError(f"agent {named!r} is declared twice: pass name= to one of them")
            agent = ChannelAgent(
                function, channel, name=named, sinks=sinks, on_error=on_error,
                concurrency=concurrency,
            )  # fmt: skip
            self.channel_agents[named] = cast("ChannelAgent[Any]", agent)
            return agent

        return declare
