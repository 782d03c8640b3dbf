"""DescribeUserScramCredentials (50): which SCRAM mechanisms users have (KIP-554)."""

from __future__ import annotations

from flowstream.wire.fields import INT8, INT16, INT32, STRING, array, field, message, struct


@struct
class UserName:
    """One of the `users` of `DescribeUserScramCredentialsRequest`."""

    name: str = field(STRING, "0+")


@message(versions="0", flexible="0+")
class DescribeUserScramCredentialsRequest:
    """The users; null means all."""

    users: tuple[UserName, ...] | None = field(array(UserName), "0+", nullable="0+")


@struct
class CredentialInfo:
    """One of the `credential_infos` of `DescribeUserScramCredentialsResult`."""

    mechanism: int = field(INT8, "0+")
    iterations: int = field(INT32, "0+")


@struct
class DescribeUserScramCredentialsResult:
    """One of the `results` of `DescribeUserScramCredentialsResponse`."""

    user: str = field(STRING, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    credential_infos: tuple[CredentialInfo, ...] = field(array(CredentialInfo), "0+")


@message(versions="0", flexible="0+")
class DescribeUserScramCredentialsResponse:
    """Mechanisms and iteration counts; never secrets."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    results: tuple[DescribeUserScramCredentialsResult, ...] = field(
        array(DescribeUserScramCredentialsResult), "0+"
    )
