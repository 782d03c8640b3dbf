"""ListConfigResources (74): resources that have a configuration (KIP-1142).

0 lists client metrics resources only (KIP-714); 1 takes a filter of types.
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@message(versions="0-1", flexible="0+")
class ListConfigResourcesRequest:
    """The types; empty means all."""

    resource_types: tuple[int, ...] = field(array(INT8), "1+")


@struct
class ConfigResource:
    """One of the `config_resources` of `ListConfigResourcesResponse`."""

    resource_name: str = field(STRING, "0+")
    resource_type: int = field(INT8, "1+", default=16, ignorable=True)


@message(versions="0-1", flexible="0+")
class ListConfigResourcesResponse:
    """Names and types."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    config_resources: tuple[ConfigResource, ...] = field(array(ConfigResource), "0+")
