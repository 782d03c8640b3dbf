"""Client quotas through a whole node: what may be set, how it is found, and who is made to wait."""

# ruff: noqa: E501 - a table reads best with one entry on one line

from __future__ import annotations

from typing import Any

import pytest

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_client_quotas import (
    AlterClientQuotasRequest,
    EntityData,
    EntryData,
    OpData,
)
from flowstream.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest
from flowstream.wire.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
)
from flowstream.wire.schema import encode
from tests.broker.machine import Machine, Muting, batch, fetch, produce

PRODUCE, FETCH, CONNECT = "producer_byte_rate", "consumer_byte_rate", "connection_creation_rate"
EXACT, DEFAULT, ANY = range(3)
USER, CLIENT, IP = "user", "client-id", "ip"

Entity = dict[str, str | None]


def entry(entity: Entity, **limits: float | None) -> EntryData:
    """None removes a limit."""
    return EntryData(
        entity=tuple(EntityData(entity_type=t, entity_name=n) for t, n in entity.items()),
        ops=tuple(
            OpData(key=key, value=value or 0.0, remove=value is None)
            for key, value in limits.items()
        ),
    )


def alter(made: Machine, entity: Entity, *, validate: bool = False, **limits: float | None) -> Any:
    request = AlterClientQuotasRequest(entries=(entry(entity, **limits),), validate_only=validate)
    (response,) = made.ask(request, 1).entries
    return response.error_code, response.error_message


def find(made: Machine, *components: tuple[str, int, str | None], strict: bool = False) -> Any:
    asked = tuple(ComponentData(entity_type=t, match_type=m, match=n) for t, m, n in components)
    response = made.ask(DescribeClientQuotasRequest(components=asked, strict=strict), 1)
    if response.error_code:
        assert response.entries is None
        return response.error_code, response.error_message
    return [
        (
            {each.entity_type: each.entity_name for each in found.entity},
            {each.key: each.value for each in found.values},
        )
        for found in response.entries
    ]


@pytest.mark.parametrize(
    ("entity", "key", "value", "says"),
    [
        ({}, PRODUCE, 1, "Invalid empty client quota entity"),
        ({"host": "x"}, PRODUCE, 1, "Unhandled client quota entity type: host"),
        ({USER: ""}, PRODUCE, 1, "Empty user not supported"),
        ({CLIENT: ""}, PRODUCE, 1, "Empty client-id not supported"),
        (
            {IP: "1.2.3.4", USER: "u"},
            CONNECT,
            1,
            "Invalid quota entity combination, IP entity should not be combined with User or ClientId",
        ),
        (
            {IP: "localhost"},
            CONNECT,
            1,
            "localhost is not a valid IP: this broker does not resolve host names.",
        ),
        ({IP: "1.2.3.4"}, PRODUCE, 1, f"Invalid configuration key {PRODUCE}"),
        ({USER: "u"}, CONNECT, 1, f"Invalid configuration key {CONNECT}"),
        ({USER: "u"}, "no_such", 1, "Invalid configuration key no_such"),
        ({USER: "u"}, PRODUCE, 0, f"Quota {PRODUCE} must be greater than 0"),
        ({USER: "u"}, PRODUCE, -1, f"Quota {PRODUCE} must be greater than 0"),
        ({USER: "u"}, PRODUCE, float("nan"), f"Quota {PRODUCE} must be greater than 0"),
        (
            {USER: "u"},
            PRODUCE,
            float("inf"),
            f"Proposed value for {PRODUCE} is too large for a LONG.",
        ),
        ({USER: "u"}, PRODUCE, 0.5, f"{PRODUCE} cannot be a fractional value."),
        ({IP: "1.2.3.4"}, CONNECT, 1e10, f"Proposed value for {CONNECT} is too large for an INT."),
    ],
)
def test_what_is_refused_changes_nothing(entity: Entity, key: str, value: float, says: str) -> None:
    made = Machine()
    assert alter(made, entity, **{key: value}) == (ErrorCode.INVALID_REQUEST, says)
    assert not made.cores.image.quotas


def test_quotas_survive_a_crash_and_go_when_they_are_removed() -> None:
    made = Machine()
    both: Entity = {USER: "u", CLIENT: None}
    assert alter(made, both, **{PRODUCE: 1000.0, FETCH: 2000.0}) == (0, None)
    made.crash()
    assert find(made) == [({CLIENT: None, USER: "u"}, {PRODUCE: 1000.0, FETCH: 2000.0})]
    assert made.cores.quotas.limited == {PRODUCE, FETCH}
    assert alter(made, both, no_such=None, **{PRODUCE: None}) == (0, None)
    assert find(made) == [({CLIENT: None, USER: "u"}, {FETCH: 2000.0})]
    assert alter(made, both, **{FETCH: None}) == (0, None)
    assert find(made) == []
    assert made.cores.quotas.limited == frozenset()


def test_validate_only_and_repeated_entities_change_nothing() -> None:
    made = Machine()
    assert alter(made, {USER: "u"}, validate=True, **{PRODUCE: 5}) == (0, None)
    twice = (entry({USER: "u"}, **{PRODUCE: 5}), entry({USER: "u"}, **{PRODUCE: 6}))
    answer = made.ask(AlterClientQuotasRequest(entries=twice), 0)
    assert {each.error_code for each in answer.entries} == {ErrorCode.INVALID_REQUEST}
    assert find(made) == []


def test_filters_find_names_defaults_and_all() -> None:
    made = Machine()
    entities: list[Entity] = [
        {USER: "u"},
        {USER: None},
        {CLIENT: "c"},
        {CLIENT: None},
        {CLIENT: "c", USER: "u"},
        {CLIENT: None, USER: None},
    ]
    for entity in entities:
        assert alter(made, entity, **{PRODUCE: 1.0}) == (0, None)
    alter(made, {IP: "1.2.3.4"}, **{CONNECT: 1.0})

    def found(*components: tuple[str, int, str | None], strict: bool = False) -> list[Entity]:
        return [entity for entity, _ in find(made, *components, strict=strict)]

    both = [entities[4], entities[5]]
    assert found() == [*entities, {IP: "1.2.3.4"}]
    assert found(strict=True) == []
    assert found((USER, ANY, None)) == [*entities[:2], *both]
    assert found((USER, ANY, None), strict=True) == entities[:2]
    assert found((USER, EXACT, "u")) == [entities[0], entities[4]]
    assert found((USER, DEFAULT, None)) == [entities[1], entities[5]]
    assert found((USER, ANY, None), (CLIENT, ANY, None)) == both
    assert found((USER, EXACT, "u"), (CLIENT, DEFAULT, None)) == []
    assert found((IP, ANY, None)) == [{IP: "1.2.3.4"}]


@pytest.mark.parametrize(
    ("components", "says"),
    [
        ([("", ANY, None)], "Invalid empty entity type."),
        (
            [(USER, ANY, None), (USER, DEFAULT, None)],
            "Entity type user cannot appear more than once in the filter.",
        ),
        ([(USER, 7, None)], "Unknown match type 7"),
        (
            [(USER, EXACT, None)],
            "Request specified MATCH_TYPE_EXACT, but set match string to null.",
        ),
        (
            [(USER, DEFAULT, "x")],
            "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
        ),
        (
            [(USER, ANY, "x")],
            "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
        ),
        (
            [(IP, ANY, None), (USER, ANY, None)],
            "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.",
        ),
    ],
)
def test_filters_that_mean_nothing_are_refused(
    components: list[tuple[str, int, str | None]], says: str
) -> None:
    assert find(Machine(), *components) == (ErrorCode.INVALID_REQUEST, says)


def test_an_unknown_type_of_entity_is_an_unsupported_version() -> None:
    refused = find(Machine(), ("host", ANY, None))
    assert refused == (ErrorCode.UNSUPPORTED_VERSION, "Unsupported entity type host")


def muting() -> Muting:
    """With a topic `t`."""
    made = Muting()
    topic = CreatableTopic(name="t", num_partitions=1, replication_factor=1)
    made.ask(CreateTopicsRequest(topics=(topic,)), 7)
    return made


def test_a_producer_over_its_quota_is_told_and_muted() -> None:
    made = muting()
    sent = batch(b"x" * 1000)
    assert made.ask(produce("t", 0, sent), 12).throttle_time_ms == 0
    alter(made, {CLIENT: "client"}, **{PRODUCE: 100})
    answer = made.ask(produce("t", 0, sent), 12)
    assert answer.responses[0].partition_responses[0].error_code == 0, "taken all the same"
    # So many bytes are 10 s and a bit of the quota, of which the last ten seconds count as idle.
    size = len(encode(produce("t", 0, sent), 12))
    expected = round(size * 10 - 10_000)
    assert answer.throttle_time_ms == expected > 0
    assert made.muted == [expected]
    made.wait(expected)
    alter(made, {CLIENT: "client"}, **{PRODUCE: None})
    assert made.ask(produce("t", 0, sent), 12).throttle_time_ms == 0


def test_a_producer_that_wants_no_answer_is_muted_too() -> None:
    made = muting()
    alter(made, {USER: None}, **{PRODUCE: 1})
    made.post(produce("t", 0, batch(b"x" * 1000), acks=0), 12)
    made.settle()
    assert len(made.muted) == 1


def test_a_reader_over_its_quota_is_told_and_muted() -> None:
    made = muting()
    made.produce("t", 0, batch(b"x" * 1000))
    alter(made, {USER: "ANONYMOUS"}, **{FETCH: 100})
    answer = made.ask(fetch("t", 0, 0), 11)
    assert answer.throttle_time_ms > 0
    assert made.muted == [answer.throttle_time_ms]
    assert answer.responses[0].partitions[0].records, "what was read is answered at once"


def test_no_answer_is_larger_than_the_windows_of_a_quota_allow() -> None:
    made = muting()
    for _ in range(5):
        made.produce("t", 0, batch(b"x" * 1000))
    alter(made, {USER: None}, **{FETCH: 250})
    answer = made.ask(fetch("t", 0, 0), 11)
    size = len(answer.responses[0].partitions[0].records)
    assert 1000 < size <= 2500, "some of the batches, as much as ten seconds may carry"
    assert answer.throttle_time_ms == 0


def test_a_quota_of_somebody_else_costs_nobody() -> None:
    made = muting()
    alter(made, {CLIENT: "another"}, **{PRODUCE: 1, FETCH: 1})
    assert made.ask(produce("t", 0, batch(b"x" * 1000)), 12).throttle_time_ms == 0
    assert made.ask(fetch("t", 0, 0), 11).throttle_time_ms == 0
    assert not made.muted
