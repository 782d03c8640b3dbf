"""Before a worker joins: topics are looked up and created, and lost state is noticed.

Shell around `plan.make_plan`. Creates only what the app declares; never deletes. Goes on looking
while the worker runs: a topic of the plan may be deleted, or grow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flowstream.processing.agents.sender import reply_topic
from flowstream.processing.app import App
from flowstream.processing.duties.inputs import undeclared_inputs
from flowstream.processing.duties.matching import matched, patterns_of
from flowstream.processing.duties.planning import make_plan
from flowstream.processing.environment.doors import Doors
from flowstream.processing.errors import StateLost, TopicMissing
from flowstream.processing.running.plan import Plan, ToCreate
from flowstream.processing.units.outputs import MAX_MESSAGE_BYTES, UNLIMITED_MS, OutputTopic
from flowstream.transport.admin import Admin
from flowstream.transport.errors import ConnectionLost, RequestRefused, TopicExists, TransportError
from flowstream.transport.types import NewTopic

log = logging.getLogger("flowstream.worker")

LOOK_EVERY_S = 3.0
LOOK_AGAIN_S = 0.1
MOST_LOOKS = 100


async def provision(
    app: App, admin: Admin, data_dir: Path, doors: Doors
) -> tuple[Plan, dict[str, OutputTopic]]:
    """The plan of the app, with all its topics there; and the topics it writes to."""
    existing = await _partitions(admin)
    wanted = undeclared_inputs(app, existing)
    if wanted and app.settings.topic_allow_declare:
        await admin.auto_create(wanted)
        existing = await _partitions(admin)
        for name in wanted:
            if name in existing:
                log.info("the broker created topic %s (%d)", name, existing[name])
    plan = make_plan(app, existing)
    if not app.settings.topic_allow_declare:
        refuse_missing([topic.name for topic in plan.create])
    for table in plan.tables:
        if table.changelog not in existing:
            found = doors.stores(data_dir, app.id, table.table.name)
            # A store is made after its changelog: another worker may have made both since we asked.
            if found and not await admin.topics([table.changelog]):
                _refuse_lost_state(app, table.table.name, table.changelog, data_dir, found[0])
    for topic in plan.create:
        await _create(app, admin, topic)
    if plan.create:
        # Another worker may have created one first, with other numbers: plan on what is there.
        existing = await _partitions_with(admin, [topic.name for topic in plan.create])
        plan = make_plan(app, existing)
    return plan, await _outputs(plan, admin, existing, app.settings.max_record_bytes)


def refuse_missing(names: Sequence[str]) -> None:
    """TopicMissing when there are any: nobody but the user creates topics of this app."""
    if names:
        raise TopicMissing(
            f"topics are missing, and topic_allow_declare is false: {', '.join(sorted(names))};"
            " create them (`flowstream topics create NAME --partitions N`), changelogs with"
            " --config cleanup.policy=compact"
        )


def expects_requests(app: App) -> bool:
    """Whether an agent says what it replies: the topic of replies is there before somebody asks
    then, whose first request would have the workers plan anew for it.
    """
    return any(agent.reply_type is not None for agent in app.agents.values())


async def provide_replies(app: App, admin: Admin) -> None:
    """Make the topic of replies, if it is not there, for whoever asked without: a sender whose
    `reply_to` it is, or who asked before it was deleted.
    """
    try:
        with suppress(TopicExists):
            if app.settings.topic_allow_declare:
                await admin.create_topics([reply_topic(app.replies, app.settings)])
        await _partitions_with(admin, [app.replies])
    except RequestRefused as error:
        log.warning(
            "topic %s cannot be made, or not be seen: replies are dropped, as long as this user may"
            " not create, describe and write it (%s)", app.replies, error,
        )  # fmt: skip


async def _outputs(
    plan: Plan, admin: Admin, existing: Mapping[str, int], limit: int | None
) -> dict[str, OutputTopic]:
    """All topics that the worker writes to, with the largest record that each takes."""
    names = {*plan.outputs, *(table.changelog for table in plan.tables)}
    limits = await admin.topic_settings(names, "max.message.bytes")
    takes = {name: int(limits.get(name, MAX_MESSAGE_BYTES)) for name in sorted(names)}
    times = await _times(names, admin)
    return {
        name: OutputTopic(
            name, existing[name], most if limit is None else min(limit, most),
            ahead_ms=times[name][0], behind_ms=times[name][1],
        )
        for name, most in takes.items()
    }  # fmt: skip


async def _times(names: Collection[str], admin: Admin) -> dict[str, tuple[int, int]]:
    """How far ahead of now, and behind it, the time of a record may be, by topic."""
    kinds = await admin.topic_settings(names, "message.timestamp.type")
    by_producer = [name for name in names if kinds.get(name) != "LogAppendTime"]
    after = await admin.topic_settings(by_producer, "message.timestamp.after.max.ms")
    before = await admin.topic_settings(by_producer, "message.timestamp.before.max.ms")
    return {
        name: (int(after.get(name, UNLIMITED_MS)), int(before.get(name, UNLIMITED_MS)))
        for name in names
    }


Known = Callable[[], tuple[Plan, Mapping[str, OutputTopic]]]
"""The plan of now, and the topics that it writes to."""


async def notice_changes(
    app: App, known: Known, admin: Admin, grown: Callable[[], None], hurry: asyncio.Event
) -> None:
    """Raise once a topic of the plan is gone: an idle worker would not notice, and a busy one would
    go back to its last commit for ever (V2). Call `grown` whenever one has other partitions than
    before: the plan must be made anew, or refused (DESIGN 5). So it must when a topic comes that a
    pattern matches, or one goes that was read for no other reason. Who sets `hurry` has it looked
    for what has come at once: another worker reads what this one does not know yet.
    """
    ids: dict[str, bytes] = {}
    before: set[str] = set()
    by_pattern, is_early = bool(patterns_of(app)), False
    while True:
        plan, outputs = known()
        counts = {**plan.sources, **{name: topic.partitions for name, topic in outputs.items()}}
        try:
            found = await admin.topics(None if by_pattern else sorted(counts))
        except TransportError as error:
            log.debug("cannot ask for the topics: %s", error)
        else:
            there = {name: topic.topic_id for name, topic in found.items() if name in counts}
            ids = there | {name: id for name, id in ids.items() if name in counts}
            # A topic made anew in its place (brokers do that by themselves) is another topic.
            gone = {name for name, id in ids.items() if there.get(name) != id}
            passing = plan.matched & plan.sources.keys() - outputs.keys() - there.keys()
            # A broker that has just started may not know all its topics yet: look twice.
            lost = set() if is_early else (gone | passing) & before
            _refuse_deleted(plan, lost - passing)
            has_gone = bool(lost)
            before = before if is_early else gone | passing
            if has_gone or _has_come(app, plan, found) or any(
                found[name].partitions > counts[name] for name in there.keys() - gone
            ):  # fmt: skip
                grown()
        is_early = await _pause(hurry)


async def _pause(hurry: asyncio.Event) -> bool:
    """Until it is time to look again; whether it is before that."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_S):
            await hurry.wait()
    is_early = hurry.is_set()
    hurry.clear()
    return is_early


def _has_come(app: App, plan: Plan, found: Collection[str]) -> bool:
    """Whether a topic is there that a pattern matches, and that the plan does not know."""
    return bool(matched(app, found) - plan.matched - plan.sources.keys())


def _refuse_deleted(plan: Plan, missing: set[str]) -> None:
    for table in plan.tables:
        if table.changelog in missing:
            raise StateLost(
                f"the changelog {table.changelog!r} of table {table.table.name!r} was deleted while"
                " the worker ran: restore the topic, or delete the app's state directory and reset"
                " its offsets to start over"
            )
    for name in sorted(missing):
        role = "input" if name in plan.sources else "output"
        raise TopicMissing(
            f"{role} topic {name!r} was deleted while the worker ran (and perhaps made anew, by"
            " hand or by the broker): what it held is gone. Create it with the partitions you want"
            " and start again, or remove it from the app"
        )


async def _partitions(admin: Admin) -> dict[str, int]:
    return {name: found.partitions for name, found in (await admin.topics(None)).items()}


async def _partitions_with(admin: Admin, names: Sequence[str]) -> dict[str, int]:
    """The same once these topics are among them: one that another worker makes at this moment
    exists before the brokers tell of it. RequestRefused when we may not see one of them.
    """
    for _ in range(MOST_LOOKS):
        existing = await _partitions(admin)
        missing = [name for name in names if name not in existing]
        if not missing:
            return existing
        # Asked for by name, a topic that we may not describe is refused; among all it is left out.
        await admin.topics(missing)
        await asyncio.sleep(LOOK_AGAIN_S)
    raise ConnectionLost(f"created, and not there yet: {', '.join(missing)}")


def _refuse_lost_state(app: App, table: str, changelog: str, data_dir: Path, found: Path) -> None:
    """A missing changelog of a table that has stores here was deleted: refuse (never guess)."""
    raise StateLost(
        f"the changelog {changelog!r} of table {table!r} is gone, but {found} was built"
        f" from it. If that was on another cluster than {app.settings.broker}, name another"
        " directory for this one: --data DIR. If the topic was deleted, restore it; or, to start"
        f" over with an empty table, delete {data_dir / 'state' / app.id} and reset the app's"
        " offsets (or choose a new app id)"
    )


async def _create(app: App, admin: Admin, topic: ToCreate) -> None:
    declared = app.topics.get(topic.name)
    own = None if declared is None else declared.replicas
    copies = own or app.settings.replication_factor
    new = NewTopic(topic.name, topic.partitions, copies, dict(topic.config))
    try:
        await admin.create_topics([new])
        log.info("created topic %s", topic.name)
    except TopicExists:
        log.debug("topic %s was created by another worker", topic.name)
