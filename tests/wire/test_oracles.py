"""Every message at every version: round trip, and byte for byte what kafka-python and kio write."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from flowstream.wire.api import API, request_class, response_class
from flowstream.wire.schema import decode, encode
from tests.wire import oracles
from tests.wire.values import messages

few = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

CASES = [
    pytest.param(api.key, kind, version, id=f"{api.name}-{kind}-v{version}")
    for api in API.values()
    for kind in ("request", "response")
    for version in range(api.min_version, api.max_version + 1)
]


def message_class(key: int, kind: str) -> type[Any]:
    return request_class(key) if kind == "request" else response_class(key)


def test_the_oracle_leaves_kafka_pythons_own_clients_alone() -> None:
    registry = oracles.ResponseClassRegistry._response_class_registry
    before = dict(registry)
    oracles.kafka_python_class.cache_clear()
    assert oracles.kafka_python_class("ApiVersionsResponse") is not None
    assert registry == before


@pytest.mark.parametrize(("key", "kind", "version"), CASES)
def test_values_survive_and_the_oracles_agree(key: int, kind: str, version: int) -> None:
    cls = message_class(key, kind)
    theirs = oracles.kafka_python_class(cls.__name__)
    kio = oracles.kio_class(key, kind, cls.__name__, version)
    assert theirs or kio

    @few
    @given(messages(cls, version, tame=True))
    def check(message: Any) -> None:
        raw = encode(message, version)
        assert decode(cls, raw, version) == message
        if theirs:
            read = theirs.decode(raw, version=version)
            shape = oracles.plain(message, version)
            assert oracles.kafka_python_plain(read, shape) == shape
            assert oracles.kafka_python_writes(read, version) == raw
        if kio:
            assert oracles.kio_rewrites(kio, raw) == raw

    check()
