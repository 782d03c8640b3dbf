"""ApiVersions (18): which APIs and versions the broker serves.

The response header stays at version 0 so that a client can read it before it knows anything; an
unknown request version is answered in version 0 with UNSUPPORTED_VERSION. 3 is flexible and
adds the client's name (KIP-511) and features (KIP-584); 4 allows features that start at 0
(KIP-1022).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT16,
    INT32,
    INT64,
    STRING,
    array,
    field,
    message,
    struct,
)


@message(versions="0-4", flexible="3+")
class ApiVersionsRequest:
    """Who asks."""

    client_software_name: str = field(STRING, "3+", ignorable=True)
    client_software_version: str = field(STRING, "3+", ignorable=True)


@struct
class ApiVersion:
    """One of the `api_keys` of `ApiVersionsResponse`."""

    api_key: int = field(INT16, "0+")
    min_version: int = field(INT16, "0+")
    max_version: int = field(INT16, "0+")


@struct
class SupportedFeatureKey:
    """One of the `supported_features` of `ApiVersionsResponse`."""

    name: str = field(STRING, "3+")
    min_version: int = field(INT16, "3+")
    max_version: int = field(INT16, "3+")


@struct
class FinalizedFeatureKey:
    """One of the `finalized_features` of `ApiVersionsResponse`."""

    name: str = field(STRING, "3+")
    max_version_level: int = field(INT16, "3+")
    min_version_level: int = field(INT16, "3+")


@message(versions="0-4", flexible="3+")
class ApiVersionsResponse:
    """Version ranges by API, and features."""

    error_code: int = field(INT16, "0+")
    api_keys: tuple[ApiVersion, ...] = field(array(ApiVersion), "0+")
    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    supported_features: tuple[SupportedFeatureKey, ...] = field(
        array(SupportedFeatureKey), "3+", ignorable=True, tag=0, tagged="3+"
    )
    finalized_features_epoch: int = field(
        INT64, "3+", default=-1, ignorable=True, tag=1, tagged="3+"
    )
    finalized_features: tuple[FinalizedFeatureKey, ...] = field(
        array(FinalizedFeatureKey), "3+", ignorable=True, tag=2, tagged="3+"
    )
    zk_migration_ready: bool = field(BOOLEAN, "3+", ignorable=True, tag=3, tagged="3+")
