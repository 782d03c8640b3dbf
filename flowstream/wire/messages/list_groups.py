"""ListGroups (16): groups that this broker coordinates.

3 is flexible; 4 filters by state (KIP-518); 5 by type (KIP-848).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, array, field, message, struct


@message(versions="0-5", flexible="3+")
class ListGroupsRequest:
    """Filters; empty lists let everything pass."""

    states_filter: tuple[str, ...] = field(array(STRING), "4+")
    types_filter: tuple[str, ...] = field(array(STRING), "5+")


@struct
class ListedGroup:
    """One of the `groups` of `ListGroupsResponse`."""

    group_id: str = field(STRING, "0+")
    protocol_type: str = field(STRING, "0+")
    group_state: str = field(STRING, "4+", ignorable=True)
    group_type: str = field(STRING, "5+", ignorable=True)


@message(versions="0-5", flexible="3+")
class ListGroupsResponse:
    """The groups that match."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    error_code: int = field(INT16, "0+")
    groups: tuple[ListedGroup, ...] = field(array(ListedGroup), "0+")
