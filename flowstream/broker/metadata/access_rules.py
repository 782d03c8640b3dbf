"""What clients may ask of access rules: create and delete them. Pure; messages in Kafka's words."""

from __future__ import annotations

from typing import NamedTuple

from flowstream.broker.doors import Random
from flowstream.broker.metadata.controller import new_uuid
from flowstream.broker.metadata.security_records import (
    AccessControlEntryRecord,
    RemoveAccessControlEntryRecord,
)
from flowstream.broker.security.acl import Acls, Rule, RuleFilter
from flowstream.wire.acl_codes import CLUSTER_NAME, Operation, PatternType, Permission, ResourceType
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.create_acls import (
    AclCreation,
    AclCreationResult,
    CreateAclsRequest,
)
from flowstream.wire.messages.delete_acls import (
    DeleteAclsFilterResult,
    DeleteAclsMatchingAcl,
    DeleteAclsRequest,
)


class Creation(NamedTuple):
    """Records to write, and what to answer once they are durable."""

    records: tuple[AccessControlEntryRecord, ...]
    results: tuple[AclCreationResult, ...]


class Deletion(NamedTuple):
    """Records to write, and what to answer once they are durable."""

    records: tuple[RemoveAccessControlEntryRecord, ...]
    results: tuple[DeleteAclsFilterResult, ...]


def create(acls: Acls, request: CreateAclsRequest, rng: Random) -> Creation:
    """Add rules, each accepted or refused on its own. One that is there already stays one."""
    records: dict[Rule, AccessControlEntryRecord] = {}
    results = []
    for asked in request.creations:
        problem = _problem_with(asked)
        if problem:
            error = ErrorCode.INVALID_REQUEST
            results.append(AclCreationResult(error_code=error, error_message=problem))
            continue
        results.append(AclCreationResult(error_message=None))
        rule = Rule(
            asked.resource_type,
            asked.resource_name,
            asked.resource_pattern_type,
            asked.principal,
            asked.host,
            asked.operation,
            asked.permission_type,
        )
        if rule not in acls and rule not in records:
            records[rule] = _record(new_uuid(rng), rule)
    return Creation(tuple(records.values()), tuple(results))


def delete(acls: Acls, request: DeleteAclsRequest) -> Deletion:
    """Remove the rules that each filter means."""
    records: dict[bytes, RemoveAccessControlEntryRecord] = {}
    results = []
    for asked in request.filters:
        wanted = RuleFilter(
            asked.resource_type_filter,
            asked.resource_name_filter,
            asked.pattern_type_filter,
            asked.principal_filter,
            asked.host_filter,
            asked.operation,
            asked.permission_type,
        )
        problem = problem_with_filter(wanted)
        if problem:
            error = ErrorCode.INVALID_REQUEST
            results.append(DeleteAclsFilterResult(error_code=error, error_message=problem))
            continue
        found = acls.matching(wanted)
        records.update((id, RemoveAccessControlEntryRecord(id=id)) for id, _ in found)
        matching = tuple(_matching(rule) for _, rule in found)
        results.append(DeleteAclsFilterResult(error_message=None, matching_acls=matching))
    return Deletion(tuple(records.values()), tuple(results))


def problem_with_filter(wanted: RuleFilter) -> str:
    """Why a filter cannot be understood; empty when it can."""
    for kind, value in (
        (ResourceType, wanted.resource_type),
        (PatternType, wanted.pattern_type),
        (Operation, wanted.operation),
        (Permission, wanted.permission),
    ):
        if value not in list(kind) or value == 0:
            return f"Unknown {kind.__name__} {value} in the filter."
    return ""


def _problem_with(asked: AclCreation) -> str:
    if asked.resource_pattern_type not in (PatternType.LITERAL, PatternType.PREFIXED):
        return f"Invalid patternType {asked.resource_pattern_type}"
    for kind, value in (
        (ResourceType, asked.resource_type),
        (Operation, asked.operation),
        (Permission, asked.permission_type),
    ):
        if value not in list(kind) or value <= 1:
            return f"Invalid {kind.__name__} {value}"
    if not asked.resource_name:
        return "Resource name should not be empty"
    if asked.resource_type == ResourceType.CLUSTER and asked.resource_name != CLUSTER_NAME:
        return f"The only valid name for the CLUSTER resource is {CLUSTER_NAME}"
    type, colon, name = asked.principal.partition(":")
    if not (type and colon and name):
        return f"Could not parse principal from `{asked.principal}`: expected TYPE:NAME"
    if not asked.host:
        return "Host should not be empty"
    return ""


def _record(id: bytes, rule: Rule) -> AccessControlEntryRecord:
    return AccessControlEntryRecord(
        id=id,
        resource_type=rule.resource_type,
        resource_name=rule.name,
        pattern_type=rule.pattern_type,
        principal=rule.principal,
        host=rule.host,
        operation=rule.operation,
        permission_type=rule.permission,
    )


def _matching(rule: Rule) -> DeleteAclsMatchingAcl:
    return DeleteAclsMatchingAcl(
        error_message=None,
        resource_type=rule.resource_type,
        resource_name=rule.name,
        pattern_type=rule.pattern_type,
        principal=rule.principal,
        host=rule.host,
        operation=rule.operation,
        permission_type=rule.permission,
    )
