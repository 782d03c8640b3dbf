"""UpdateFeatures (57): change finalized feature levels (KIP-584).

1 adds the kind of change and dry runs (KIP-778); 2 drops the results by feature (KIP-1022).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT8,
    INT16,
    INT32,
    STRING,
    array,
    field,
    message,
    struct,
)


@struct
class FeatureUpdateKey:
    """One of the `feature_updates` of `UpdateFeaturesRequest`."""

    feature: str = field(STRING, "0+")
    max_version_level: int = field(INT16, "0+")
    allow_downgrade: bool = field(BOOLEAN, "0")
    upgrade_type: int = field(INT8, "1+", default=1)


@message(versions="0-2", flexible="0+")
class UpdateFeaturesRequest:
    """The wanted levels."""

    timeout_ms: int = field(INT32, "0+", default=60000)
    feature_updates: tuple[FeatureUpdateKey, ...] = field(array(FeatureUpdateKey), "0+")
    validate_only: bool = field(BOOLEAN, "1+")


@struct
class UpdatableFeatureResult:
    """One of the `results` of `UpdateFeaturesResponse`."""

    feature: str = field(STRING, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")


@message(versions="0-2", flexible="0+")
class UpdateFeaturesResponse:
    """The outcome."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+")
    results: tuple[UpdatableFeatureResult, ...] = field(
        array(UpdatableFeatureResult), "0-1", ignorable=True
    )
