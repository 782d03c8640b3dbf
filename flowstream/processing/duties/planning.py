"""Making the plan of a run: who reads which topic, what must be created, whether partitions fit.

Pure: declarations and the cluster's topics in, a plan or an error with the remedy out. What agents
read is entered first (`inputs`), then tables get their places (`places`), then what comes due in
these gets its readers (`due_readers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowstream.processing.agents.agent import sink_topics
from flowstream.processing.app import App
from flowstream.processing.duties.due_readers import due_readers, end_topics
from flowstream.processing.duties.inputs import Inputs, between_joins
from flowstream.processing.duties.places import Places, check_lookups, has_crontabs
from flowstream.processing.running.plan import LETTERS, Plan, ToCreate, foreign_plan
from flowstream.processing.tables.table import Table


def make_plan(app: App, existing: Mapping[str, int]) -> Plan:
    """The plan of an app on a cluster with these topics; agents must have been probed. An error
    with the remedy when it cannot run there.
    """
    inputs = Inputs(app, existing)
    between = between_joins(app)
    for agent in app.agents.values():
        if agent.inner is None and agent.source_topic.name not in between:
            inputs.read(agent)
    if not inputs.sources or (app.leader in existing and has_crontabs(app)):
        inputs.lead()
    inputs.refuse_shared()
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
    purged = tuple(
        app.repartition(agent.repartition_name)
        for agent in app.agents.values()
        if agent.group is not None and agent.group.topic is None
    ) + tuple(between)
    foreign = tuple(foreign_plan(table, counts, existing) for table in app.foreign_tables.values())
    return Plan(
        tuple(inputs.readers), inputs.sources, tables, tuple(inputs.create.values()), outputs,
        inner, purged, foreign, end_topics(app, inputs),
    )  # fmt: skip


def _outputs(
    app: App, existing: Mapping[str, int], inputs: Inputs, tables: Iterable[Table[Any, Any]]
) -> tuple[str, ...]:
    """The topics that are written; those that are missing are entered to be created."""
    names = dict.fromkeys([*app.topics, *between_joins(app)])
    names.update((name, None) for name in (app.replies, app.dead_letters) if name in existing)
    for agent in app.agents.values():
        names.update((topic.name, None) for sink in agent.sinks for topic in sink_topics(sink))
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
