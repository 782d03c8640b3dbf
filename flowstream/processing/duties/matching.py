"""Which topics of a cluster the patterns of an app match: all whose whole name does, but the
cluster's own (`__...`) and the app's.

Pure: declarations and names in, names out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowstream.processing.agents.sinks import sink_topics
from flowstream.processing.app import App
from flowstream.processing.declarations.agents import OUR_ENDINGS
from flowstream.processing.events.topic_patterns import TopicPattern


def others(app: App, names: Iterable[str]) -> list[str]:
    """Of these topics those that an app may read because a pattern matches, in their order by name:
    what it keeps for itself, and what its own agents yield to, would be read for ever.
    """
    ours = {app.replies, app.dead_letters, app.leader}
    for agent in [*app.agents.values(), *app.channel_agents.values()]:
        ours.update(topic.name for sink in agent.sinks for topic in sink_topics(sink))
        if agent.group is not None and agent.group.topic is not None:
            ours.add(agent.group.topic.name)
        if agent.has_own_topic:
            ours.add(agent.topic.name)
    return sorted(
        name
        for name in names
        if name not in ours and not (name.startswith(f"{app.id}-") and name.endswith(OUR_ENDINGS))
    )


def patterns_of(app: App) -> list[TopicPattern[Any, Any]]:
    """The patterns by which agents read topics."""
    return [
        topic
        for agent in app.agents.values()
        for topic in agent.topics
        if isinstance(topic, TopicPattern)
    ]


def matched(app: App, names: Iterable[str]) -> frozenset[str]:
    """The topics among these that agents read because a pattern matches."""
    patterns = patterns_of(app)
    if not patterns:
        return frozenset()
    return frozenset(
        name for name in others(app, names) if any(each.matches(name) for each in patterns)
    )


def read_by_name(app: App) -> frozenset[str]:
    """The topics that agents read by their names."""
    return frozenset(
        topic.name
        for agent in app.agents.values()
        for topic in agent.topics
        if topic.pattern is None
    )
