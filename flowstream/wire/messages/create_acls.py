"""CreateAcls (30): add access rules.

1 adds prefixed patterns (KIP-290); 2 is flexible; 3 adds user resources (KIP-373).
"""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@struct
class AclCreation:
    """One of the `creations` of `CreateAclsRequest`."""

    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    resource_pattern_type: int = field(INT8, "1+", default=3)
    principal: str = field(STRING, "0+")
    host: str = field(STRING, "0+")
    operation: int = field(INT8, "0+")
    permission_type: int = field(INT8, "0+")


@message(versions="1-3", flexible="2+")
class CreateAclsRequest:
    """The rules to add."""

    creations: tuple[AclCreation, ...] = field(array(AclCreation), "0+")


@struct
class AclCreationResult:
    """One of the `results` of `CreateAclsResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")


@message(versions="1-3", flexible="2+")
class CreateAclsResponse:
    """The outcome, by rule."""

    throttle_time_ms: int = field(INT32, "0+")
    results: tuple[AclCreationResult, ...] = field(array(AclCreationResult), "0+")
