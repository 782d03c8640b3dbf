"""DeleteGroups (42): delete empty groups.

2 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, array, field, message, struct


@message(versions="0-2", flexible="2+")
class DeleteGroupsRequest:
    """The groups to delete."""

    groups_names: tuple[str, ...] = field(array(STRING), "0+")


@struct
class DeletableGroupResult:
    """One of the `results` of `DeleteGroupsResponse`."""

    group_id: str = field(STRING, "0+")
    error_code: int = field(INT16, "0+")


@message(versions="0-2", flexible="2+")
class DeleteGroupsResponse:
    """The outcome, by group."""

    throttle_time_ms: int = field(INT32, "0+")
    results: tuple[DeletableGroupResult, ...] = field(array(DeletableGroupResult), "0+")
