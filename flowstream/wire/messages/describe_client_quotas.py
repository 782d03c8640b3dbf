"""DescribeClientQuotas (48): quotas that match a filter (KIP-546).

1 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    STRING,
    array,
    field,
    message,
    struct,
)


@struct
class ComponentData:
    """One of the `components` of `DescribeClientQuotasRequest`."""

    entity_type: str = field(STRING, "0+")
    match_type: int = field(INT8, "0+")
    match: str | None = field(STRING, "0+", nullable="0+")


@message(versions="0-1", flexible="1+")
class DescribeClientQuotasRequest:
    """The filter. A component matches by 0 name, 1 default, 2 any."""

    components: tuple[ComponentData, ...] = field(array(ComponentData), "0+")
    strict: bool = field(BOOLEAN, "0+")


@struct
class EntityData:
    """One of the `entity` of `EntryData`."""

    entity_type: str = field(STRING, "0+")
    entity_name: str | None = field(STRING, "0+", nullable="0+")


@struct
class ValueData:
    """One of the `values` of `EntryData`."""

    key: str = field(STRING, "0+")
    value: float = field(FLOAT64, "0+")


@struct
class EntryData:
    """One of the `entries` of `DescribeClientQuotasResponse`."""

    entity: tuple[EntityData, ...] = field(array(EntityData), "0+")
    values: tuple[ValueData, ...] = field(array(ValueData), "0+")


@message(versions="0-1", flexible="1+")
class DescribeClientQuotasResponse:
    """The quotas, by entity."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    entries: tuple[EntryData, ...] | None = field(array(EntryData), "0+", nullable="0+")
