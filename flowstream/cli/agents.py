"""`flowstream agents`: what an app's agents are, without running them."""

from __future__ import annotations

from flowstream.cli.apps import Module, app_of
from flowstream.cli.options import Json, refusing, show
from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.sinks import sink_topics


def command(module: Module, json: Json = False) -> None:
    """List an app's agents: what they read, where they send, what they are for."""
    with refusing():
        app = app_of(module, None, None)
    found = [*app.agents.values(), *app.channel_agents.values()]
    show(("agent", "reads", "sinks", "on_error", "help"),
         [row(agent) for agent in found], as_json=json)  # fmt: skip


def row(agent: Agent[object]) -> tuple[object, ...]:
    """One agent."""
    reads = ", ".join(topic.name for topic in agent.topics) or agent.topic.name
    sinks = ", ".join(topic.name for sink in agent.sinks for topic in sink_topics(sink))
    told = agent.help.partition("\n")[0]
    return agent.name, reads, sinks or None, agent.policy.action, told or None
