"""AlterClientQuotas (49): change quotas (KIP-546).

1 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    FLOAT64,
    INT16,
    INT32,
    STRING,
    array,
    field,
    message,
    struct,
)


@struct
class EntityData:
    """One of the `entity` of `EntryData`."""

    entity_type: str = field(STRING, "0+")
    entity_name: str | None = field(STRING, "0+", nullable="0+")


@struct
class OpData:
    """One of the `ops` of `EntryData`."""

    key: str = field(STRING, "0+")
    value: float = field(FLOAT64, "0+")
    remove: bool = field(BOOLEAN, "0+")


@struct
class EntryData:
    """One of the `entries` of `AlterClientQuotasRequest`."""

    entity: tuple[EntityData, ...] = field(array(EntityData), "0+")
    ops: tuple[OpData, ...] = field(array(OpData), "0+")


@message(versions="0-1", flexible="1+")
class AlterClientQuotasRequest:
    """The changes, by entity."""

    entries: tuple[EntryData, ...] = field(array(EntryData), "0+")
    validate_only: bool = field(BOOLEAN, "0+")


@struct
class EntryDataResponse:
    """One of the `entries` of `AlterClientQuotasResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    entity: tuple[EntityData, ...] = field(array(EntityData), "0+")


@message(versions="0-1", flexible="1+")
class AlterClientQuotasResponse:
    """The outcome, by entity."""

    throttle_time_ms: int = field(INT32, "0+")
    entries: tuple[EntryDataResponse, ...] = field(array(EntryDataResponse), "0+")
