"""DescribeAcls (29): the access rules that a filter means (KIP-140); from 1 on prefixed ones."""

from __future__ import annotations

from flowstream.broker.coordination import replies_when_durable
from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.metadata.access_rules import problem_with_filter
from flowstream.broker.security.acl import RuleFilter
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_acls import (
    AclDescription,
    DescribeAclsRequest,
    DescribeAclsResource,
    DescribeAclsResponse,
)

DISABLED = "No Authorizer is configured."


def handle(request: Request[DescribeAclsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer with what is durable, by resource."""
    body = request.body
    wanted = RuleFilter(
        body.resource_type_filter,
        body.resource_name_filter,
        body.pattern_type_filter,
        body.principal_filter,
        body.host_filter,
        body.operation,
        body.permission_type,
    )
    error, message = ErrorCode.NONE, problem_with_filter(wanted) or None
    if cores.authorizer is None:
        error, message = ErrorCode.SECURITY_DISABLED, DISABLED
    elif message:
        error = ErrorCode.INVALID_REQUEST
    if error:
        return [Reply(request.to, DescribeAclsResponse(error_code=error, error_message=message))]
    answer = DescribeAclsResponse(error_message=None, resources=_resources(cores, wanted))
    return replies_when_durable([(request.to, answer)])


def _resources(cores: Cores, wanted: RuleFilter) -> tuple[DescribeAclsResource, ...]:
    found: dict[tuple[int, str, int], list[AclDescription]] = {}
    for _, rule in cores.image.acls.matching(wanted):
        found.setdefault((rule.resource_type, rule.name, rule.pattern_type), []).append(
            AclDescription(
                principal=rule.principal,
                host=rule.host,
                operation=rule.operation,
                permission_type=rule.permission,
            )
        )
    return tuple(
        DescribeAclsResource(
            resource_type=type, resource_name=name, pattern_type=pattern, acls=tuple(acls)
        )
        for (type, name, pattern), acls in sorted(found.items())
    )
