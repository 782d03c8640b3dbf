"""DeleteAcls (31): delete access rules that match filters.

1 adds prefixed patterns (KIP-290); 2 is flexible; 3 adds user resources (KIP-373).
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@struct
class DeleteAclsFilter:
    """One of the `filters` of `DeleteAclsRequest`."""

    resource_type_filter: int = field(INT8, "0+")
    resource_name_filter: str | None = field(STRING, "0+", nullable="0+")
    pattern_type_filter: int = field(INT8, "1+", default=3)
    principal_filter: str | None = field(STRING, "0+", nullable="0+")
    host_filter: str | None = field(STRING, "0+", nullable="0+")
    operation: int = field(INT8, "0+")
    permission_type: int = field(INT8, "0+")


@message(versions="1-3", flexible="2+")
class DeleteAclsRequest:
    """The filters."""

    filters: tuple[DeleteAclsFilter, ...] = field(array(DeleteAclsFilter), "0+")


@struct
class DeleteAclsMatchingAcl:
    """One of the `matching_acls` of `DeleteAclsFilterResult`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    pattern_type: int = field(INT8, "1+", default=3)
    principal: str = field(STRING, "0+")
    host: str = field(STRING, "0+")
    operation: int = field(INT8, "0+")
    permission_type: int = field(INT8, "0+")


@struct
class DeleteAclsFilterResult:
    """One of the `filter_results` of `DeleteAclsResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    matching_acls: tuple[DeleteAclsMatchingAcl, ...] = field(array(DeleteAclsMatchingAcl), "0+")


@message(versions="1-3", flexible="2+")
class DeleteAclsResponse:
    """The deleted rules, by filter."""

    throttle_time_ms: int = field(INT32, "0+")
    filter_results: tuple[DeleteAclsFilterResult, ...] = field(array(DeleteAclsFilterResult), "0+")
