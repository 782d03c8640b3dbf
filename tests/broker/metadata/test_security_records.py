"""Users and access rules in the metadata log: Kafka's bytes, and an image that is their fold."""

from __future__ import annotations

from typing import Any

from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.record_frames import decode_record, encode_record
from flowstream.broker.security.acl import Rule
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
from tests.broker.machine import Machine

# Written by Apache Kafka 4.3.1 when asked by `flowstream users` and `flowstream acls`.
USER = (
    "010b0004616461011932c37f83a5525543c4a29ae74c136a7f969c58f981967bb9212de6789550c022f38a7546b8ff"
    "4dece60585beb4c8de90c08d47a6e151e1414121ab15d74e6e0d854422f1003931b10fbce942c9e7c59b0b38ac81d4"
    "db042d74430000200000"
)
PREFIXED = "011200b6f8dd110c9a4165b88cb53ea053ff4e0203612d0409557365723a616461022a030300"
DENY = (
    "011200e98af05e6ac7452c856446b880a5e38c040e6b61666b612d636c75737465720309557365723a616461022a0202"
    "00"
)
REMOVAL = "011300e98af05e6ac7452c856446b880a5e38c00"


def test_the_bytes_are_kafkas() -> None:
    image = Image()
    for text in (USER, PREFIXED, DENY):
        record, version = decode_record(bytes.fromhex(text))
        assert encode_record(record, version).hex() == text
        image.apply(record)
    assert list(image.credentials) == [(1, "ada")]
    assert image.credentials[1, "ada"].iterations == 8192
    assert set(image.acls.by_id.values()) == {
        Rule(2, "a-", 4, "User:ada", "*", 3, 3),
        Rule(4, "kafka-cluster", 3, "User:ada", "*", 2, 2),
    }
    image.apply(decode_record(bytes.fromhex(REMOVAL))[0])
    assert len(image.acls.by_id) == 1


def test_X5_no_secret_is_in_a_repr() -> None:
    record, _ = decode_record(bytes.fromhex(USER))
    assert "salt=..." in repr(record)
    assert "stored_key=..." in repr(record)
    assert "server_key=..." in repr(record)


def secured() -> Machine:
    return Machine(super_users="User:ANONYMOUS")


def upsertion(name: str = "ada", **changes: Any) -> ScramCredentialUpsertion:
    said = {"mechanism": 1, "iterations": 4096, "salt": b"s" * 24, "salted_password": b"p" * 32}
    return ScramCredentialUpsertion(name=name, **{**said, **changes})


def alter(machine: Machine, *asked: Any) -> list[tuple[str, int]]:
    request = AlterUserScramCredentialsRequest(
        deletions=tuple(a for a in asked if isinstance(a, ScramCredentialDeletion)),
        upsertions=tuple(a for a in asked if isinstance(a, ScramCredentialUpsertion)),
    )
    return [(each.user, each.error_code) for each in machine.ask(request, 0).results]


def described(machine: Machine, *names: str) -> dict[str, list[int]]:
    asked = tuple(UserName(name=name) for name in names) or None
    answer = machine.ask(DescribeUserScramCredentialsRequest(users=asked), 0)
    return {
        each.user: [each.error_code, *(info.mechanism for info in each.credential_infos)]
        for each in answer.results
    }


def test_users_are_kept_over_a_crash() -> None:
    machine = secured()
    assert alter(machine, upsertion(), upsertion(mechanism=2), upsertion("bob")) == [
        ("ada", 0),
        ("bob", 0),
    ]
    machine.crash()
    assert described(machine) == {"ada": [0, 1, 2], "bob": [0, 1]}
    assert alter(machine, ScramCredentialDeletion(name="ada", mechanism=1)) == [("ada", 0)]
    machine.crash()
    assert described(machine, "ada", "eve") == {
        "ada": [0, 2],
        "eve": [ErrorCode.RESOURCE_NOT_FOUND],
    }
    assert described(machine, "ada", "ada") == {"ada": [ErrorCode.DUPLICATE_RESOURCE]}


def test_credentials_that_are_refused() -> None:
    machine = secured()
    unacceptable = ErrorCode.UNACCEPTABLE_CREDENTIAL
    for asked, error in (
        (upsertion(iterations=4095), unacceptable),
        (upsertion(iterations=16385), unacceptable),
        (upsertion(""), unacceptable),
        (upsertion(salt=b""), unacceptable),
        (upsertion(mechanism=3), ErrorCode.UNSUPPORTED_SASL_MECHANISM),
        (ScramCredentialDeletion(name="ada", mechanism=1), ErrorCode.RESOURCE_NOT_FOUND),
    ):
        assert alter(machine, asked) == [(asked.name, error)]
    assert alter(machine, upsertion(), upsertion()) == [("ada", ErrorCode.DUPLICATE_RESOURCE)]
    assert described(machine) == {}


def creation(**changes: Any) -> AclCreation:
    said = {
        "resource_type": 2,
        "resource_name": "t",
        "resource_pattern_type": 3,
        "principal": "User:ada",
        "host": "*",
        "operation": 3,
        "permission_type": 3,
    }
    return AclCreation(**{**said, **changes})


def create(machine: Machine, *asked: AclCreation) -> list[int]:
    answer = machine.ask(CreateAclsRequest(creations=asked), 3)
    return [each.error_code for each in answer.results]


def everything(cls: type) -> Any:
    return cls(
        resource_type_filter=1,
        resource_name_filter=None,
        pattern_type_filter=1,
        principal_filter=None,
        host_filter=None,
        operation=1,
        permission_type=1,
    )


def test_rules_are_kept_over_a_crash() -> None:
    machine = secured()
    assert create(machine, creation(), creation(), creation(operation=4)) == [0, 0, 0]
    assert create(machine, creation()) == [0]
    machine.crash()
    answer = machine.ask(everything(DescribeAclsRequest), 3)
    (resource,) = answer.resources
    assert [each.operation for each in resource.acls] == [3, 4]
    deleted = machine.ask(DeleteAclsRequest(filters=(everything(DeleteAclsFilter),)), 3)
    assert len(deleted.filter_results[0].matching_acls) == 2
    machine.crash()
    assert not machine.ask(everything(DescribeAclsRequest), 3).resources


def test_rules_that_are_refused() -> None:
    machine = secured()
    for changes in (
        {"resource_type": 1},
        {"resource_type": 99},
        {"resource_name": ""},
        {"resource_pattern_type": 1},
        {"resource_type": 4, "resource_name": "t"},
        {"principal": "ada"},
        {"principal": "User:"},
        {"host": ""},
        {"operation": 1},
        {"permission_type": 1},
    ):
        assert create(machine, creation(**changes)) == [ErrorCode.INVALID_REQUEST], changes
    assert not machine.cores.image.acls.by_id


def test_without_security_there_are_no_rules_to_ask_for() -> None:
    machine = Machine()
    assert create(machine, creation()) == [ErrorCode.SECURITY_DISABLED]
    answer = machine.ask(everything(DescribeAclsRequest), 3)
    assert answer.error_code == ErrorCode.SECURITY_DISABLED
