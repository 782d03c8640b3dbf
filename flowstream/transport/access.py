"""Users and access rules of a cluster, asked of any broker.

A password never leaves this process: it is salted here (KIP-554). What a rule means is the
broker's affair.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import RequestRefused
from flowstream.wire.acl_codes import PatternType
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    ScramCredentialDeletion,
    ScramCredentialUpsertion,
)
from flowstream.wire.messages.create_acls import AclCreation, CreateAclsRequest
from flowstream.wire.messages.delete_acls import DeleteAclsFilter, DeleteAclsRequest
from flowstream.wire.messages.describe_acls import DescribeAclsRequest
from flowstream.wire.messages.describe_user_scram_credentials import (
    DescribeUserScramCredentialsRequest,
    UserName,
)

ITERATIONS = 8_192
ANY = 1


class Mechanism(IntEnum):
    """Ways to prove a password; Kafka's numbers."""

    SCRAM_SHA_256 = 1
    SCRAM_SHA_512 = 2

    @property
    def digest(self) -> str:
        """The hash function's name."""
        return f"sha{self.name[-3:]}"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """One access rule; the name `*` is every resource of the type, the host `*` every host."""

    resource: int
    name: str
    principal: str
    operation: int
    permission: int
    pattern: int = PatternType.LITERAL
    host: str = "*"


@dataclass(frozen=True, slots=True)
class AccessFilter:
    """Which rules are meant; what is None matches all."""

    resource: int | None = None
    name: str | None = None
    principal: str | None = None
    operation: int | None = None
    permission: int | None = None
    pattern: int | None = None
    host: str | None = None


class AccessAdmin:
    """Administration of users and access rules over one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def users(self) -> dict[str, Mapping[int, int]]:
        """Users with their mechanisms and iterations."""
        answer = await self._ask(
            ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS,
            DescribeUserScramCredentialsRequest(users=None),
        )
        _check("describing users", answer)
        return {
            each.user: {info.mechanism: info.iterations for info in each.credential_infos}
            for each in answer.results
            if not each.error_code
        }

    async def set_password(
        self, user: str, password: str, salts: Mapping[Mechanism, bytes]
    ) -> None:
        """Let `user` log in with `password`: a credential for each mechanism that has a salt."""
        for mechanism, salt in salts.items():
            # One request each: Kafka 4 refuses one that names a user twice.
            upsertion = ScramCredentialUpsertion(
                name=user,
                mechanism=mechanism,
                iterations=ITERATIONS,
                salt=salt,
                salted_password=hashlib.pbkdf2_hmac(
                    mechanism.digest, password.encode(), salt, ITERATIONS
                ),
            )
            await self._alter(AlterUserScramCredentialsRequest(upsertions=(upsertion,)))

    async def delete_user(self, user: str) -> None:
        """Take all credentials of `user` away. RequestRefused when there are none."""
        answer = await self._ask(
            ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS,
            DescribeUserScramCredentialsRequest(users=(UserName(name=user),)),
        )
        _check("describing users", answer)
        for result in answer.results:
            _check(f"deleting user {user!r}", result)
        for result in answer.results:
            for info in result.credential_infos:
                deletion = ScramCredentialDeletion(name=user, mechanism=info.mechanism)
                await self._alter(AlterUserScramCredentialsRequest(deletions=(deletion,)))

    async def rules(self, wanted: AccessFilter) -> list[AccessRule]:
        """The rules that `wanted` means."""
        answer = await self._ask(
            ApiKey.DESCRIBE_ACLS,
            DescribeAclsRequest(
                resource_type_filter=_any(wanted.resource),
                resource_name_filter=wanted.name,
                pattern_type_filter=_any(wanted.pattern),
                principal_filter=wanted.principal,
                host_filter=wanted.host,
                operation=_any(wanted.operation),
                permission_type=_any(wanted.permission),
            ),
        )
        _check("describing access rules", answer)
        return [
            AccessRule(
                each.resource_type,
                each.resource_name,
                acl.principal,
                acl.operation,
                acl.permission_type,
                each.pattern_type,
                acl.host,
            )
            for each in answer.resources
            for acl in each.acls
        ]

    async def add_rules(self, rules: Sequence[AccessRule]) -> None:
        """Add rules; those that are there already stay."""
        creations = tuple(
            AclCreation(
                resource_type=rule.resource,
                resource_name=rule.name,
                resource_pattern_type=rule.pattern,
                principal=rule.principal,
                host=rule.host,
                operation=rule.operation,
                permission_type=rule.permission,
            )
            for rule in rules
        )
        answer = await self._ask(ApiKey.CREATE_ACLS, CreateAclsRequest(creations=creations))
        for result in answer.results:
            _check("adding an access rule", result)

    async def remove_rules(self, wanted: AccessFilter) -> int:
        """Remove the rules that `wanted` means; how many."""
        meant = DeleteAclsFilter(
            resource_type_filter=_any(wanted.resource),
            resource_name_filter=wanted.name,
            pattern_type_filter=_any(wanted.pattern),
            principal_filter=wanted.principal,
            host_filter=wanted.host,
            operation=_any(wanted.operation),
            permission_type=_any(wanted.permission),
        )
        answer = await self._ask(ApiKey.DELETE_ACLS, DeleteAclsRequest(filters=(meant,)))
        (result,) = answer.filter_results
        _check("removing access rules", result)
        return len(result.matching_acls)

    async def _alter(self, request: AlterUserScramCredentialsRequest) -> None:
        answer = await self._ask(ApiKey.ALTER_USER_SCRAM_CREDENTIALS, request)
        for result in answer.results:
            _check(f"altering user {result.user!r}", result)

    async def _ask(self, key: ApiKey, request: object) -> Any:
        return await self._cluster.request(None, key, lambda _: request)


def _any(value: int | None) -> int:
    return ANY if value is None else value


def _check(what: str, result: Any) -> None:
    if result.error_code != ErrorCode.NONE:
        raise RequestRefused(what, result.error_code, result.error_message)
