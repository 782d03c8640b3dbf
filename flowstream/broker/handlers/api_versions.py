"""ApiVersions (18): which APIs, versions and features this broker serves.

From 3 on the client says its name (KIP-511) and learns the features (KIP-584):
transaction.version=2 switches clients to transaction protocol v2 (KIP-890). Before 4 a feature
range that starts at 0 is told from 1, because those clients refuse 0 (KIP-1022). An unknown version
is answered in version 0 by the connection, see `handlers.unsupported_api_versions`."""

from __future__ import annotations

import re

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.handlers import ROUTES
from flowstream.broker.metadata.controller import FEATURES
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)

NAMED_SINCE = 3
LEVEL_ZERO_SINCE = 4
_LEGAL = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?")


def handle(request: Request[ApiVersionsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once."""
    body, version = request.body, request.to.version
    names = (body.client_software_name, body.client_software_version)
    if version >= NAMED_SINCE and not all(_LEGAL.fullmatch(name) for name in names):
        return [Reply(request.to, ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST))]
    lowest = 0 if version >= LEVEL_ZERO_SINCE else 1
    response = ApiVersionsResponse(
        api_keys=_SERVED,
        supported_features=tuple(
            SupportedFeatureKey(name=name, min_version=max(low, lowest), max_version=high)
            for name, (low, high) in FEATURES.items()
        ),
        finalized_features_epoch=max(cores.metadata_log.log_end - 1, 0),
        finalized_features=tuple(
            FinalizedFeatureKey(name=name, max_version_level=level, min_version_level=level)
            for name, level in cores.image.features.items()
            if name in FEATURES
        ),
    )
    return [Reply(request.to, response)]


_SERVED = tuple(
    ApiVersion(api_key=key, min_version=route.oldest, max_version=route.newest)
    for key, route in ROUTES.items()
)
