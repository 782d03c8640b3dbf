"""What may be asked of users' SCRAM credentials (KIP-554): set, delete, describe, and the ones that
a secured broker begins with. Pure; messages in Kafka's words. A secret goes in, never out (X5).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from flowstream.broker.doors import Random
from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.security_records import (
    RemoveUserScramCredentialRecord,
    UserScramCredentialRecord,
)
from flowstream.broker.security.credentials import Credential
from flowstream.broker.security.scram import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    Mechanism,
    credential,
    credential_of,
)
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_user_scram_credentials import (
    AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResult,
    ScramCredentialDeletion,
    ScramCredentialUpsertion,
)
from flowstream.wire.messages.describe_user_scram_credentials import (
    CredentialInfo,
    DescribeUserScramCredentialsResult,
    UserName,
)

Records = tuple[UserScramCredentialRecord | RemoveUserScramCredentialRecord, ...]


class Alteration(NamedTuple):
    """Records to write, and what to answer once they are durable."""

    records: Records
    results: tuple[AlterUserScramCredentialsResult, ...]


class _Refused(Exception):
    def __init__(self, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error
        self.message = message


def alter(image: Image, request: AlterUserScramCredentialsRequest) -> Alteration:
    """Set and delete credentials, all of a user's or none."""
    everything: list[ScramCredentialDeletion | ScramCredentialUpsertion] = []
    everything += request.deletions
    everything += request.upsertions
    named = Counter((each.name, each.mechanism) for each in everything)
    refused: dict[str, _Refused] = {}
    records: dict[str, list[UserScramCredentialRecord | RemoveUserScramCredentialRecord]] = {}
    for asked in everything:
        mine = records.setdefault(asked.name, [])
        try:
            if named[asked.name, asked.mechanism] > 1:
                message = "A user credential cannot be altered twice in the same request"
                raise _Refused(ErrorCode.DUPLICATE_RESOURCE, message)
            mine.append(_altered(image, asked))
        except _Refused as refusal:
            refused.setdefault(asked.name, refusal)
    results = tuple(
        AlterUserScramCredentialsResult(
            user=user,
            error_code=refused[user].error if user in refused else ErrorCode.NONE,
            error_message=refused[user].message if user in refused else None,
        )
        for user in records
    )
    kept = [each for user, mine in records.items() if user not in refused for each in mine]
    return Alteration(tuple(kept), results)


def _altered(
    image: Image, asked: ScramCredentialDeletion | ScramCredentialUpsertion
) -> UserScramCredentialRecord | RemoveUserScramCredentialRecord:
    if not asked.name:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Username must not be empty")
    if asked.mechanism not in list(Mechanism):
        raise _Refused(ErrorCode.UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism")
    if isinstance(asked, ScramCredentialDeletion):
        if (asked.mechanism, asked.name) not in image.credentials:
            message = "Attempt to delete a user credential that does not exist"
            raise _Refused(ErrorCode.RESOURCE_NOT_FOUND, message)
        return RemoveUserScramCredentialRecord(name=asked.name, mechanism=asked.mechanism)
    if asked.iterations < MIN_ITERATIONS:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too few iterations")
    if asked.iterations > MAX_ITERATIONS:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Too many iterations")
    if not asked.salt or not asked.salted_password:
        raise _Refused(ErrorCode.UNACCEPTABLE_CREDENTIAL, "Salt or password is empty")
    mechanism = Mechanism(asked.mechanism)
    salted = bytes(asked.salted_password)
    made = credential(mechanism, salted, bytes(asked.salt), asked.iterations)
    return _record(asked.name, mechanism, made)


def describe(
    image: Image, asked: tuple[UserName, ...] | None
) -> tuple[DescribeUserScramCredentialsResult, ...]:
    """The mechanisms and iterations of users, of all when none is named."""
    if asked:
        named = Counter(each.name for each in asked)
    else:
        named = Counter({user: 1 for _, user in sorted(image.credentials)})
    return tuple(_described(image, user, times) for user, times in named.items())


def _described(image: Image, user: str, times: int) -> DescribeUserScramCredentialsResult:
    infos = tuple(
        CredentialInfo(mechanism=each, iterations=kept.iterations)
        for each in Mechanism
        if (kept := image.credentials.get((each, user))) is not None
    )
    error, message = ErrorCode.NONE, None
    if times > 1:
        error, message = ErrorCode.DUPLICATE_RESOURCE, f"User {user} is named {times} times"
        infos = ()
    elif not infos:
        error = ErrorCode.RESOURCE_NOT_FOUND
        message = f"Attempt to describe a user credential that does not exist: {user}"
    return DescribeUserScramCredentialsResult(
        user=user, error_code=error, error_message=message, credential_infos=infos
    )


def first_users(
    image: Image, passwords: Mapping[str, str], rng: Random
) -> tuple[UserScramCredentialRecord, ...]:
    """Credentials for those of `passwords` who have none; nobody's password is changed."""
    return tuple(
        _record(user, mechanism, credential_of(mechanism, password, rng))
        for user, password in passwords.items()
        if not any((each, user) in image.credentials for each in Mechanism)
        for mechanism in Mechanism
    )


def _record(user: str, mechanism: Mechanism, kept: Credential) -> UserScramCredentialRecord:
    return UserScramCredentialRecord(
        name=user,
        mechanism=mechanism,
        salt=kept.salt,
        stored_key=kept.stored_key,
        server_key=kept.server_key,
        iterations=kept.iterations,
    )
