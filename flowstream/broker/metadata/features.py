"""Which feature levels a cluster may be moved to (KIP-584, KIP-778): from the image and what is
asked to records.

Pure, in Kafka's words. What a level means to clients is theirs: they read it in ApiVersions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from flowstream.broker.metadata.controller import FEATURES
from flowstream.broker.metadata.image import Image
from flowstream.broker.metadata.records import FeatureLevelRecord, MetadataRecord

UPGRADE = 1
SAFE_DOWNGRADE = 2
UNSAFE_DOWNGRADE = 3

METADATA_VERSION = "metadata.version"


class Update(NamedTuple):
    """The level that a feature is to have, and whether it may go up or down for it."""

    level: int
    upgrade_type: int


class InvalidUpdate(ValueError):
    """Kafka's INVALID_UPDATE_VERSION; the text is the answer's error message."""


def update(image: Image, updates: Mapping[str, Update], node_id: int) -> tuple[MetadataRecord, ...]:
    """The records of all `updates` together. Raises InvalidUpdate when one of them cannot be."""
    for feature, wanted in updates.items():
        current = image.features.get(feature, 0)
        problem = _out_of_range(feature, wanted, node_id) or _wrong_way(wanted, current)
        if problem is not None:
            raise InvalidUpdate(
                f"Invalid update version {wanted.level} for feature {feature}. {problem}"
            )
        if feature == METADATA_VERSION and wanted.level < current:
            raise InvalidUpdate(_no_metadata_downgrade(wanted, current))
    return tuple(
        FeatureLevelRecord(name=feature, feature_level=wanted.level)
        for feature, wanted in updates.items()
        if wanted.level != image.features.get(feature, 0)
    )


def _out_of_range(feature: str, wanted: Update, node_id: int) -> str | None:
    if wanted.upgrade_type not in (UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE):
        return "The controller does not support the given upgrade type."
    if wanted.level < 0:
        return "A feature version cannot be less than 0."
    supported = FEATURES.get(feature)
    if supported is None:
        if wanted.level == 0:
            return f"Feature {feature} not found."
        return f"Local controller {node_id} does not support this feature."
    lowest, highest = supported
    if not lowest <= wanted.level <= highest:
        return f"Local controller {node_id} only supports versions {lowest}-{highest}"
    return None


def _wrong_way(wanted: Update, current: int) -> str | None:
    if wanted.level < current and wanted.upgrade_type == UPGRADE:
        return (
            "Can't downgrade the version of this feature without setting the upgrade type to "
            "either safe or unsafe downgrade."
        )
    if wanted.level > current and wanted.upgrade_type != UPGRADE:
        return "Can't downgrade to a newer version."
    return None


def _no_metadata_downgrade(wanted: Update, current: int) -> str:
    """Records of the newer version are in the log already: no level below can read them all."""
    if wanted.upgrade_type == UNSAFE_DOWNGRADE:
        reason = "Unsafe metadata downgrade is not supported in this version."
    else:
        reason = (
            "Refusing to perform the requested downgrade because it might delete metadata "
            "information."
        )
    return f"Unsupported {METADATA_VERSION} downgrade from {current} to {wanted.level}. {reason}"
