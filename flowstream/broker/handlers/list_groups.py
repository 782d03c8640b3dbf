"""ListGroups (16): all groups. From 4 on by state (KIP-518), from 5 on by type (KIP-848)."""

from __future__ import annotations

from flowstream.broker.coordination import replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.groups.group import CONSUMER_PROTOCOL
from flowstream.broker.types import Instant
from flowstream.wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

CLASSIC, CONSUMER = "classic", "consumer"


def handle(request: Request[ListGroupsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer with the groups that match; empty filters let all pass, letter case does not count."""
    states = {each.lower() for each in request.body.states_filter}
    types = {each.lower() for each in request.body.types_filter}
    classic = (
        ListedGroup(
            group_id=group_id,
            protocol_type=group.protocol_type or "",
            group_state=group.state.value,
            group_type=CLASSIC,
        )
        for group_id, group in cores.groups.groups.items()
    )
    consumer = (
        ListedGroup(
            group_id=group_id,
            protocol_type=CONSUMER_PROTOCOL,
            group_state=group.state.value,
            group_type=CONSUMER,
        )
        for group_id, group in cores.groups.consumers.items()
    )
    listed = tuple(
        each
        for each in (*classic, *consumer)
        if (not states or each.group_state.lower() in states)
        and (not types or each.group_type in types)
    )
    return replies_when_durable([(request.to, ListGroupsResponse(groups=listed))])
