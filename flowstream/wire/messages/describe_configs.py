"""DescribeConfigs (32): configuration of topics, brokers and groups, with where each value comes
from.

1 adds sources and synonyms (KIP-226); 3 documentation and types (KIP-569); 4 is flexible.
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
class DescribeConfigsResource:
    """One of the `resources` of `DescribeConfigsRequest`."""

    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    configuration_keys: tuple[str, ...] | None = field(array(STRING), "0+", nullable="0+")


@message(versions="1-4", flexible="4+")
class DescribeConfigsRequest:
    """Resources and keys; null keys mean all."""

    resources: tuple[DescribeConfigsResource, ...] = field(array(DescribeConfigsResource), "0+")
    include_synonyms: bool = field(BOOLEAN, "1+")
    include_documentation: bool = field(BOOLEAN, "3+")


@struct
class DescribeConfigsSynonym:
    """One of the `synonyms` of `DescribeConfigsResourceResult`."""

    name: str = field(STRING, "1+")
    value: str | None = field(STRING, "1+", nullable="0+")
    source: int = field(INT8, "1+")


@struct
class DescribeConfigsResourceResult:
    """One of the `configs` of `DescribeConfigsResult`."""

    name: str = field(STRING, "0+")
    value: str | None = field(STRING, "0+", nullable="0+")
    read_only: bool = field(BOOLEAN, "0+")
    config_source: int = field(INT8, "1+", default=-1, ignorable=True)
    is_sensitive: bool = field(BOOLEAN, "0+")
    synonyms: tuple[DescribeConfigsSynonym, ...] = field(
        array(DescribeConfigsSynonym), "1+", ignorable=True
    )
    config_type: int = field(INT8, "3+", ignorable=True)
    documentation: str | None = field(STRING, "3+", nullable="0+", ignorable=True)


@struct
class DescribeConfigsResult:
    """One of the `results` of `DescribeConfigsResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    configs: tuple[DescribeConfigsResourceResult, ...] = field(
        array(DescribeConfigsResourceResult), "0+"
    )


@message(versions="1-4", flexible="4+")
class DescribeConfigsResponse:
    """The values, by resource."""

    throttle_time_ms: int = field(INT32, "0+")
    results: tuple[DescribeConfigsResult, ...] = field(array(DescribeConfigsResult), "0+")
