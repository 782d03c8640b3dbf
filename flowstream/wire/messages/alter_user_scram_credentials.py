"""AlterUserScramCredentials (51): set and delete SCRAM credentials (KIP-554)."""

from __future__ import annotations

from flowstream.wire.fields import BYTES, INT8, INT16, INT32, STRING, array, field, message, struct


@struct
class ScramCredentialDeletion:
    """One of the `deletions` of `AlterUserScramCredentialsRequest`."""

    name: str = field(STRING, "0+")
    mechanism: int = field(INT8, "0+")


@struct
class ScramCredentialUpsertion:
    """One of the `upsertions` of `AlterUserScramCredentialsRequest`."""

    name: str = field(STRING, "0+")
    mechanism: int = field(INT8, "0+")
    iterations: int = field(INT32, "0+")
    salt: bytes = field(BYTES, "0+", secret=True)
    salted_password: bytes = field(BYTES, "0+", secret=True)


@message(versions="0", flexible="0+")
class AlterUserScramCredentialsRequest:
    """Deletions and insertions."""

    deletions: tuple[ScramCredentialDeletion, ...] = field(array(ScramCredentialDeletion), "0+")
    upsertions: tuple[ScramCredentialUpsertion, ...] = field(array(ScramCredentialUpsertion), "0+")


@struct
class AlterUserScramCredentialsResult:
    """One of the `results` of `AlterUserScramCredentialsResponse`."""

    user: str = field(STRING, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")


@message(versions="0", flexible="0+")
class AlterUserScramCredentialsResponse:
    """The outcome, by user."""

    throttle_time_ms: int = field(INT32, "0+")
    results: tuple[AlterUserScramCredentialsResult, ...] = field(
        array(AlterUserScramCredentialsResult), "0+"
    )
