"""DescribeAcls (29): list access rules that match a filter.

1 adds prefixed patterns (KIP-290); 2 is flexible; 3 adds user resources (KIP-373).
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@message(versions="1-3", flexible="2+")
class DescribeAclsRequest:
    """The filter."""

    resource_type_filter: int = field(INT8, "0+")
    resource_name_filter: str | None = field(STRING, "0+", nullable="0+")
    pattern_type_filter: int = field(INT8, "1+", default=3)
    principal_filter: str | None = field(STRING, "0+", nullable="0+")
    host_filter: str | None = field(STRING, "0+", nullable="0+")
    operation: int = field(INT8, "0+")
    permission_type: int = field(INT8, "0+")


@struct
class AclDescription:
    """One of the `acls` of `DescribeAclsResource`."""

    principal: str = field(STRING, "0+")
    host: str = field(STRING, "0+")
    operation: int = field(INT8, "0+")
    permission_type: int = field(INT8, "0+")


@struct
class DescribeAclsResource:
    """One of the `resources` of `DescribeAclsResponse`."""

    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    pattern_type: int = field(INT8, "1+", default=3)
    acls: tuple[AclDescription, ...] = field(array(AclDescription), "0+")


@message(versions="1-3", flexible="2+")
class DescribeAclsResponse:
    """The rules, by resource."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    resources: tuple[DescribeAclsResource, ...] = field(array(DescribeAclsResource), "0+")
