"""UpdateFeatures: which levels a cluster may be moved to, and that they last."""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.metadata.controller import FEATURES
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.broker.machine import Machine

UPGRADE, SAFE, UNSAFE = 1, 2, 3
TRANSACTIONS = "transaction.version"


def update(
    machine: Machine, *updates: tuple[str, int, int], version: int = 2, dry: bool = False
) -> Any:
    asked = tuple(
        FeatureUpdateKey(feature=name, max_version_level=level, upgrade_type=kind)
        for name, level, kind in updates
    )
    return machine.ask(UpdateFeaturesRequest(feature_updates=asked, validate_only=dry), version)


def finalized(machine: Machine) -> dict[str, int]:
    asked = ApiVersionsRequest(client_software_name="a", client_software_version="1")
    answer = machine.ask(asked, 4)
    return {each.name: each.max_version_level for each in answer.finalized_features}


def test_D4_a_level_goes_down_and_up_and_survives_a_crash() -> None:
    machine = Machine()
    for level, kind in ((1, SAFE), (0, UNSAFE), (2, UPGRADE), (1, SAFE)):
        assert update(machine, (TRANSACTIONS, level, kind)).error_code == 0
        assert finalized(machine).get(TRANSACTIONS, 0) == level
    machine.crash()
    assert finalized(machine)[TRANSACTIONS] == 1


def test_validation_changes_nothing() -> None:
    machine = Machine()
    before = machine.cores.metadata_log.log_end
    assert update(machine, (TRANSACTIONS, 1, SAFE), dry=True).error_code == 0
    assert update(machine, (TRANSACTIONS, 2, UPGRADE)).error_code == 0, "as it is"
    assert machine.cores.metadata_log.log_end == before


@pytest.mark.parametrize(
    ("name", "level", "kind", "said"),
    [
        (TRANSACTIONS, -1, UPGRADE, "less than 0"),
        (TRANSACTIONS, 3, UPGRADE, "only supports versions 0-2"),
        (TRANSACTIONS, 1, UPGRADE, "Can't downgrade"),
        (TRANSACTIONS, 1, 0, "upgrade type"),
        (TRANSACTIONS, 1, 4, "upgrade type"),
        ("unknown", 1, UPGRADE, "does not support this feature"),
        ("unknown", 0, SAFE, "not found"),
        ("metadata.version", 6, SAFE, "only supports versions"),
        ("metadata.version", 29, UPGRADE, "Can't downgrade"),
        ("metadata.version", 29, SAFE, "Refusing"),
        ("metadata.version", 29, UNSAFE, "not supported in this version"),
    ],
)
def test_a_level_that_cannot_be_changes_nothing(
    name: str, level: int, kind: int, said: str
) -> None:
    machine = Machine()
    answer = update(machine, (TRANSACTIONS, 0, SAFE), (name, level, kind))
    assert answer.error_code == ErrorCode.INVALID_UPDATE_VERSION
    assert said in answer.error_message
    assert finalized(machine) == {name: high for name, (_, high) in FEATURES.items()}


def test_nothing_goes_up_under_the_name_of_a_downgrade() -> None:
    machine = Machine()
    update(machine, (TRANSACTIONS, 0, SAFE))
    answer = update(machine, (TRANSACTIONS, 2, SAFE))
    assert "newer version" in answer.error_message


def test_the_first_version_says_whether_a_level_may_go_down() -> None:
    machine = Machine()
    for allowed, error in ((False, ErrorCode.INVALID_UPDATE_VERSION), (True, 0)):
        asked = FeatureUpdateKey(feature=TRANSACTIONS, max_version_level=1, allow_downgrade=allowed)
        answer = machine.ask(UpdateFeaturesRequest(feature_updates=(asked,)), 0)
        assert answer.error_code == error
    assert [each.feature for each in answer.results] == [TRANSACTIONS]
