"""IncrementalAlterConfigs (44): change single configuration keys (KIP-339): 0 set, 1 delete, 2
append, 3 subtract.

1 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
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
class AlterableConfig:
    """One of the `configs` of `AlterConfigsResource`."""

    name: str = field(STRING, "0+")
    config_operation: int = field(INT8, "0+")
    value: str | None = field(STRING, "0+", nullable="0+")


@struct
class AlterConfigsResource:
    """One of the `resources` of `IncrementalAlterConfigsRequest`."""

    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    configs: tuple[AlterableConfig, ...] = field(array(AlterableConfig), "0+")


@message(versions="0-1", flexible="1+")
class IncrementalAlterConfigsRequest:
    """The changes, by resource."""

    resources: tuple[AlterConfigsResource, ...] = field(array(AlterConfigsResource), "0+")
    validate_only: bool = field(BOOLEAN, "0+")


@struct
class AlterConfigsResourceResponse:
    """One of the `responses` of `IncrementalAlterConfigsResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")


@message(versions="0-1", flexible="1+")
class IncrementalAlterConfigsResponse:
    """The outcome, by resource."""

    throttle_time_ms: int = field(INT32, "0+")
    responses: tuple[AlterConfigsResourceResponse, ...] = field(
        array(AlterConfigsResourceResponse), "0+"
    )
