"""UpdateFeatures (57): raise or lower what the cluster is finalized at (KIP-584): all or nothing.

1 adds the type of change and validation only (KIP-778); before, `allow_downgrade` is the type. 2
tells one error for all (KIP-1022). Durable when answered.
"""

from __future__ import annotations

from flowstream.broker.coordination import commit_metadata
from flowstream.broker.cores import Cores
from flowstream.broker.decision import Decision
from flowstream.broker.effects import Effect
from flowstream.broker.events import Request
from flowstream.broker.metadata.features import (
    SAFE_DOWNGRADE,
    UPGRADE,
    InvalidUpdate,
    Update,
    update,
)
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.update_features import (
    FeatureUpdateKey,
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)

TYPED_SINCE = 1
ALL_OR_NOTHING = "The update failed for all features since the following feature had an error:"


def handle(request: Request[UpdateFeaturesRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer when the levels are durable."""
    body = request.body
    updates = {each.feature: _update(each, request.to.version) for each in body.feature_updates}
    try:
        records = update(cores.image, updates, cores.address.node_id)
    except InvalidUpdate as refused:
        refusal = UpdateFeaturesResponse(
            error_code=ErrorCode.INVALID_UPDATE_VERSION, error_message=f"{ALL_OR_NOTHING} {refused}"
        )
        return commit_metadata(cores, Decision(replies=((request.to, refusal),)), now)
    results = tuple(
        UpdatableFeatureResult(feature=feature, error_message=None) for feature in updates
    )
    response = UpdateFeaturesResponse(error_message=None, results=results)
    decision = Decision(
        records=() if body.validate_only else records, replies=((request.to, response),)
    )
    return commit_metadata(cores, decision, now)


def _update(asked: FeatureUpdateKey, version: int) -> Update:
    if version >= TYPED_SINCE:
        return Update(asked.max_version_level, asked.upgrade_type)
    return Update(asked.max_version_level, SAFE_DOWNGRADE if asked.allow_downgrade else UPGRADE)
