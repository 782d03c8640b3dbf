"""FindCoordinator (10): which broker coordinates a group or a transactional id.

1 adds the key type; 3 is flexible; 4 asks for many keys (KIP-699); 5 may answer
TRANSACTION_ABORTABLE; 6 serves share groups (KIP-932).
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@message(versions="0-6", flexible="3+")
class FindCoordinatorRequest:
    """Keys and their type: 0 group, 1 transaction, 2 share group."""

    key: str = field(STRING, "0-3")
    key_type: int = field(INT8, "1+")
    coordinator_keys: tuple[str, ...] = field(array(STRING), "4+")


@struct
class Coordinator:
    """One of the `coordinators` of `FindCoordinatorResponse`."""

    key: str = field(STRING, "4+")
    node_id: int = field(INT32, "4+")
    host: str = field(STRING, "4+")
    port: int = field(INT32, "4+")
    error_code: int = field(INT16, "4+")
    error_message: str | None = field(STRING, "4+", nullable="4+", ignorable=True)


@message(versions="0-6", flexible="3+")
class FindCoordinatorResponse:
    """The coordinator of each key."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    error_code: int = field(INT16, "0-3")
    error_message: str | None = field(STRING, "1-3", nullable="1-3", ignorable=True)
    node_id: int = field(INT32, "0-3")
    host: str = field(STRING, "0-3")
    port: int = field(INT32, "0-3")
    coordinators: tuple[Coordinator, ...] = field(array(Coordinator), "4+")
