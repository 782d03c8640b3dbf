"""An app back to its beginning: no offsets, no tables, no records on their way between its agents.

Shell. The order makes whatever a crash leaves either complete, or refused until the reset is run
again: a mark beside the slots first, which no worker passes; what is re-keyed, then the offsets,
then the changelogs (without offsets a worker refuses them), the stores, and the mark last.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flowstream.errors import FlowstreamError
from flowstream.processing.app import App
from flowstream.processing.duties.inputs import between_joins
from flowstream.processing.duties.places import all_tables
from flowstream.processing.environment.slots import RESETTING, lock_all
from flowstream.transport.admin import Admin
from flowstream.transport.errors import UnknownTopic

IDLE = ("Empty", "Dead")
POLL_S = 0.05

Checkpoint = Callable[[str], None]
"""Called with the name of each step before it is taken; crash tests stop there."""


class ResetRefused(FlowstreamError):
    """The app cannot be reset now; the message says why."""


@dataclass(frozen=True, slots=True)
class Reset:
    """What a reset would do."""

    app: str
    repartitions: tuple[str, ...]
    changelogs: tuple[str, ...]
    dead_letters: tuple[str, ...]
    groups: tuple[str, ...]
    kept: tuple[str, ...]
    """Topics that agents have of their own, whose records are read again."""
    state: Path
    running: str = ""
    """Why it cannot be done now: the app's workers run."""

    @property
    def steps(self) -> list[str]:
        """What would be done, one line each; nothing when the app is at its beginning."""
        lines = [f"delete topic {name}" for name in self.repartitions]
        lines += [f"delete group {name} with its offsets" for name in self.groups]
        lines += [f"delete topic {name}" for name in (*self.changelogs, *self.dead_letters)]
        if self.state.exists():
            lines.append(f"delete the stores below {self.state}")
        return lines

    @property
    def notes(self) -> list[str]:
        """What stays although it is the app's alone, one line each."""
        return [
            f"keep topic {name}, an agent's own: what was sent there is read again"
            " (--agent-topics deletes it)"
            for name in self.kept
        ]


async def plan_reset(
    app: App, admin: Admin, data_dir: Path, *, dead_letters: bool, agent_topics: bool = False
) -> Reset:
    """What there is to reset, and whether the app's workers run.

    An agent's own topic stays unless `agent_topics`: what came from elsewhere is input of the app,
    and nobody could send it again.
    """
    for agent in app.agents.values():
        await agent.probe()
    there = await admin.topics(None)
    through = [
        app.repartition(agent.repartition_name)
        for agent in app.agents.values()
        if agent.group is not None and agent.group.topic is None
    ] + between_joins(app)
    tables = [app.changelog(name) for name in all_tables(app)]
    listed = {group.group: group.state for group in await admin.groups()}
    # The group of the dead letters' topic says how far they were sent back.
    groups = [name for name in (app.id, app.dead_letters)[: 1 + dead_letters] if name in listed]
    state = listed.get(app.id, IDLE[0])
    running = (
        f"app {app.id!r} is running: its group has members ({state}). Stop its workers, and wait"
        " until a killed one's session has ended"
    )
    dead = [app.dead_letters] if dead_letters else []
    own = [agent.source_topic.name for agent in app.agents.values() if agent.has_own_topic]
    if agent_topics:
        through, own = [*through, *own], []
    return Reset(
        app.id,
        tuple(name for name in through if name in there),
        tuple(name for name in tables if name in there),
        tuple(name for name in dead if name in there),
        tuple(groups),
        tuple(name for name in own if name in there),
        data_dir / "state" / app.id,
        "" if state in IDLE else running,
    )


async def execute_reset(
    reset: Reset, admin: Admin, *, checkpoint: Checkpoint = lambda _: None
) -> None:
    """Do it. ResetRefused when the app's workers run; SlotError, before anything is changed, when
    one of this machine does.
    """
    if reset.running:
        raise ResetRefused(reset.running)
    reset.state.mkdir(parents=True, exist_ok=True)
    mark = reset.state / RESETTING
    was_marked = mark.exists()
    _write(mark)
    try:
        slots = lock_all(reset.state)
    except FlowstreamError:
        if not was_marked:
            mark.unlink()
        raise
    try:
        checkpoint("repartitions")
        await _delete(admin, reset.repartitions)
        checkpoint("offsets")
        for group in reset.groups:
            await admin.delete_group(group)
        checkpoint("changelogs")
        await _delete(admin, (*reset.changelogs, *reset.dead_letters))
        checkpoint("stores")
        for path in sorted(reset.state.iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
        checkpoint("mark")
        mark.unlink()
        # A disk of its own, or with something of somebody else's in it, stays.
        with suppress(OSError):
            reset.state.rmdir()
    finally:
        for slot in slots:
            slot.release()


def _write(mark: Path) -> None:
    """On disk before anything is deleted (D1)."""
    with mark.open("w", encoding="ascii") as handle:
        handle.write("flowstream reset has begun\n")
        handle.flush()
        os.fsync(handle.fileno())
    directory = os.open(mark.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


async def _delete(admin: Admin, names: tuple[str, ...]) -> None:
    for name in names:
        try:
            await admin.delete_topics([name])
        except UnknownTopic:
            continue
    # A cluster deletes a moment after it answered.
    while await admin.topics(names):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)
