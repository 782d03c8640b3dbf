"""Whoever takes a slot succeeds the worker that had it. One that was killed stays in its group
until its session ends, and all that it owned waits: so the next one leaves in its name.

Shell. Safe for three reasons: the slot's lock ends with the process, so whoever noted itself there
is dead; its producer epoch is fenced first, so what it sent last is refused or was complete (T11,
G2); and a member id is never given twice, so one that is out of date is nobody's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from flowstream.processing.environment.slots import NotedMember, Slot
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import TransportError
from flowstream.transport.member import unnoted
from flowstream.transport.transaction import TransactionSession

log = logging.getLogger("flowstream.worker")

LEAVE_S = 3.0
"""So long the group is asked; then the session is waited for, as ever."""
REASON = "the worker was killed, and another one has its slot"


async def succeed(
    slot: Slot, cluster: Cluster, admin: Admin, group: str, session: TransactionSession | None
) -> Callable[[str], None]:
    """Take the worker before out of the group, and give what notes this one's member ids.

    Without a session (`at_least_once`) nothing fences the dead: what is still on its way to the
    changelogs could land behind what others write, and the session's end is waited for.
    """
    if session is None:
        slot.member = None
        return unnoted
    cluster_id = ""
    try:
        async with asyncio.timeout(LEAVE_S):
            cluster_id = (await cluster.metadata(())).cluster_id or ""
            await _bury(slot, cluster_id, admin, group)
    except (TransportError, TimeoutError) as error:
        log.info("a worker that was killed is waited for, the group did not let it go: %r", error)

    def note(member_id: str) -> None:
        slot.member = NotedMember(cluster_id, member_id) if member_id else None

    return note


async def _bury(slot: Slot, cluster_id: str, admin: Admin, group: str) -> None:
    dead = slot.member
    if dead is None or dead.cluster_id != cluster_id:
        return
    if await admin.remove_member(group, dead.member_id, REASON):
        log.info("the worker before in slot %d was killed: it is out of the group", slot.number)
    slot.member = None
