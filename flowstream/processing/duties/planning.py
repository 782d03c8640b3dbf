"""Making the plan of a run: who reads which topic, what must be created, whether partitions fit.

Pure: declarations and the cluster's topics in, a plan or an error with the remedy out. What agents
read is entered first (`inputs`), then tables get their places (`places`), then what comes due in
these gets its readers (`due_readers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowstream.processing.agents.sinks import sink_topics
from flowstream.processing.app import App
from flowstream.processing.duties.due_readers import due_readers, end_topics, refuse_reshaped
from flowstream.processing.duties.inputs import Inputs, between_joins
from flowstream.processing.duties.places import Places, check_lookups, has_crontabs, unplaced
from flowstream.processing.events.topic_patterns import TopicPattern
from flowstream.processing.running.plan import LETTERS, Plan, ToCreate, foreign_plan
from flowstream.processing.tables.table import Table


def make_plan(app: App, existing: Mapping[str, int]) -> Plan:
    """The plan of an app on a cluster with these topics; agents must have been probed. An error
    with the remedy when it cannot run there.
    """
    refuse_reshaped(app)
    inputs = Inputs(app, existing)
    between = between_joins(app)
    for agent in app.agents.values():
        if agent.inner is None and agent.source_topic.name not in between:
            inputs.read(agent)
    if not inputs.sources or (app.leader in existing and has_crontabs(app)):
        inputs.lead()
    inputs.refuse_shared()
    held_by = unplaced(app, existing, inputs)
    if held_by:
        return _held(app, existing, inputs, held_by)
    counts = inputs.counts
    tables = Places(app, existing, inputs, counts).find()
    numbers = {plan.table.name: plan.partitions for plan in tables}
    inner = due_readers(app, inputs, numbers)
    check_lookups(
        [
            *((reader, inputs.sources[reader.topic]) for reader in inputs.readers),
            *((each.reader, each.partitions) for each in inner),
        ],
        numbers,
    )
    outputs = _outputs(app, existing, inputs, [plan.table for plan in tables])
    foreign = tuple(foreign_plan(table, counts, existing) for table in app.foreign_tables.values())
    return Plan(
        tuple(inputs.readers), inputs.sources, tables, tuple(inputs.create.values()), outputs,
        inner, _purged(app), foreign, end_topics(app, inputs), inputs.matched, _waiting(inputs),
    )  # fmt: skip


def _held(app: App, existing: Mapping[str, int], inputs: Inputs, held_by: str) -> Plan:
    """The plan of an app that waits as a whole: it has its leader, and the topics it declares."""
    alone = Inputs(app, existing)
    alone.lead()
    outputs = _outputs(app, existing, alone, ())
    create = tuple(alone.create.values())
    return Plan(
        (), alone.sources, (), create, outputs, purged=_purged(app),
        matched=frozenset(inputs.found), waiting=_waiting(inputs), held_by=held_by,
    )  # fmt: skip


def _purged(app: App) -> tuple[str, ...]:
    """Topics of our own that are emptied behind the app."""
    agents = [a for a in app.agents.values() if a.group is not None and a.group.topic is None]
    return (*(app.repartition(agent.repartition_name) for agent in agents), *between_joins(app))


def _waiting(inputs: Inputs) -> tuple[str, ...]:
    """What agents wait for, a line each."""
    return tuple(
        f"agent {agent.name!r} waits for a topic that matches"
        f" {' or '.join(topic.name for topic in agent.topics)}"
        for agent in inputs.waiting
    )


def _outputs(
    app: App, existing: Mapping[str, int], inputs: Inputs, tables: Iterable[Table[Any, Any]]
) -> tuple[str, ...]:
    """The topics that are written; those that are missing are entered to be created."""
    names = dict.fromkeys([*app.topics, *between_joins(app)])
    names.update((name, None) for name in (app.replies, app.dead_letters) if name in existing)
    for agent in app.agents.values():
        for topic in [topic for sink in agent.sinks for topic in sink_topics(sink)]:
            if isinstance(topic, TopicPattern):
                topic.refuse_sending()
            names[topic.name] = None
        names.update((r.forwards_to, None) for r in inputs.readers if r.forwards_to)
        if "dead_letter" in (agent.policy.action, agent.policy.then) or agent.parking:
            names[app.dead_letters] = None
    if any(table.late == "dead_letter" for table in tables):
        names[app.dead_letters] = None
    for name in names:
        if name not in existing and name not in inputs.create:
            declared = app.topics.get(name)
            usual = app.settings.topic_partitions
            partitions = -1 if declared is None else declared.partitions or usual or -1
            ours = LETTERS if name == app.dead_letters else {}
            config = ours if declared is None else declared.config
            inputs.create[name] = ToCreate(name, partitions, config)
    return tuple(names)
