"""Whom to ask for a task: its owner, and who has copies, as the group tells.

Shell. Who moves is in no answer of the group, so what was known last is kept for copies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from flowstream.processing.errors import TableUnavailable
from flowstream.processing.queries.owners import Owner, copies_of, owner_of, owners_of
from flowstream.processing.units.task import TaskId
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.types import GroupMember

SILENT_S = 10.0


class Routes:
    """The workers of one app."""

    def __init__(self, app_id: str, cluster: Callable[[], Awaitable[Cluster]]) -> None:
        self._app_id = app_id
        self._cluster = cluster
        self._owners: dict[TaskId, Owner] = {}
        self._copies: dict[TaskId, list[Owner]] = {}
        self._members: list[Owner] = []
        self._silent: dict[Owner, float] = {}
        """Who said nothing, and until when others are asked first."""
        self._looks = 0
        self._looking = asyncio.Lock()
        self._looking_in: asyncio.AbstractEventLoop | None = None
        """The loop that the lock is of."""

    def forget(self) -> None:
        """The owners may be others."""
        self._owners = {}

    async def owner(self, id: TaskId, what: str) -> Owner:
        """The owner of a task; TableUnavailable when there is none that can be visited. `what` it
        is of the task that is asked for.
        """
        if id not in self._owners:
            await self._look_together()
        owner = self._owners.get(id)
        if owner is None:
            raise TableUnavailable(f"no worker of app {self._app_id!r} owns {what} now")
        if owner.address is None:
            raise TableUnavailable(
                f"the worker that owns {what} ({owner.member} on {owner.host}) has no web server:"
                " start it with --web-port"
            )
        return owner

    def keepers(self, id: TaskId, *, is_global: bool) -> list[Owner]:
        """Who has copies of a task's tables; of global ones everybody has."""
        return self._members if is_global else self._copies.get(id, [])

    def said_nothing(self, owner: Owner) -> None:
        """It did not answer: for a while others are asked first."""
        self._silent[owner] = asyncio.get_running_loop().time() + SILENT_S

    def is_silent(self, owner: Owner) -> bool:
        """Whether it said nothing a moment ago."""
        return self._silent.get(owner, 0.0) > asyncio.get_running_loop().time()

    async def _look_together(self) -> None:
        """Look once for all who want to know: a query of a hundred partitions while their owner is
        away would ask the coordinator two thousand times a second.
        """
        here, looks = asyncio.get_running_loop(), self._looks
        if self._looking_in is not here:
            self._looking_in, self._looking = here, asyncio.Lock()
        async with self._looking:
            if self._looks == looks:
                await self._look()
                self._looks += 1

    async def _look(self) -> None:
        members, counts = await members_of(await self._cluster(), self._app_id)
        self._owners = owners_of(members, counts)
        if self._owners:
            kept = copies_of(members).items()
            self._copies = {id: [k for k in each if k != self._owners.get(id)] for id, each in kept}
            found = [owner_of(member) for member in members]
            self._members = [each for each in found if each.address is not None]
            self._silent = {each: at for each, at in self._silent.items() if each in found}


async def owners(cluster: Cluster, app_id: str) -> dict[TaskId, Owner]:
    """The owner of each task of an app now; none of those that move."""
    return owners_of(*await members_of(cluster, app_id))


async def members_of(
    cluster: Cluster, app_id: str
) -> tuple[tuple[GroupMember, ...], Mapping[str, int]]:
    """The members of an app's group now, and the partitions of the topics that they read."""
    admin = Admin(cluster)
    group = await admin.group(app_id)
    topics = {tp.topic for member in group.members for tp in member.partitions}
    described = await admin.topics(sorted(topics)) if topics else {}
    return group.members, {name: topic.partitions for name, topic in described.items()}
