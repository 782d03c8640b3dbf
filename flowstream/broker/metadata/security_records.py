"""The security records of `__cluster_metadata-0` as Kafka declares them: access rules (KIP-801) and
SCRAM credentials (KIP-900).
"""

from __future__ import annotations

from flowstream.wire.fields import BYTES, INT8, INT32, STRING, UUID, field, message


@message(versions="0", flexible="0+")
class UserScramCredentialRecord:
    """A user's credential for one mechanism (11)."""

    name: str = field(STRING, "0+")
    mechanism: int = field(INT8, "0+")
    salt: bytes = field(BYTES, "0+", secret=True)
    stored_key: bytes = field(BYTES, "0+", secret=True)
    server_key: bytes = field(BYTES, "0+", secret=True)
    iterations: int = field(INT32, "0+")


@message(versions="0", flexible="0+")
class AccessControlEntryRecord:
    """An access rule came to be (18)."""

    id: bytes = field(UUID, "0+")
    resource_type: int = field(INT8, "0+")
    resource_name: str = field(STRING, "0+")
    pattern_type: int = field(INT8, "0+")
    principal: str = field(STRING, "0+")
    host: str = field(STRING, "0+")
    operation: int = field(INT8, "0+")
    permission_type: int = field(INT8, "0+")


@message(versions="0", flexible="0+")
class RemoveAccessControlEntryRecord:
    """An access rule is gone (19)."""

    id: bytes = field(UUID, "0+")


@message(versions="0", flexible="0+")
class RemoveUserScramCredentialRecord:
    """A user's credential for one mechanism is gone (22)."""

    name: str = field(STRING, "0+")
    mechanism: int = field(INT8, "0+")


SecurityRecord = (
    UserScramCredentialRecord
    | AccessControlEntryRecord
    | RemoveAccessControlEntryRecord
    | RemoveUserScramCredentialRecord
)
