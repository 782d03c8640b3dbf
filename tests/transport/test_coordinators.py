"""A coordinator that is not to be found for long: whoever promised to ask until there is an answer
goes on asking, and who may not ask is told so.
"""

from __future__ import annotations

from itertools import count

import pytest

from flowstream.transport import cluster as module
from flowstream.transport.cluster import Cluster, Coordinator
from flowstream.transport.errors import ConnectionLost, RequestRefused
from flowstream.transport.transaction import State, TransactionSession
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode
from tests.transport.fake_broker import FakeBroker
from tests.transport.test_transaction import T0, batches

AWAY = (int(ErrorCode.COORDINATOR_NOT_AVAILABLE),) * 2


@pytest.fixture
def half_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is half a minute and more after the one before."""
    now = count(0, 31_000)
    monkeypatch.setattr(module, "monotonic_ms", lambda: next(now))


async def test_T3_a_commit_waits_for_a_coordinator_that_is_away_for_long(
    half_minutes: None,
) -> None:
    """After half a minute it took that for a refusal, and the outcome for unknown."""
    async with FakeBroker({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        session = TransactionSession(cluster, "app-1")
        await session.init()
        session.begin()
        await session.produce(batches(T0))
        cluster.forget(Coordinator("transaction", "app-1"))
        broker.script(ApiKey.FIND_COORDINATOR, *AWAY)
        await session.commit()
        assert session.state is State.READY
        assert len(broker.seen(ApiKey.FIND_COORDINATOR)) == 1 + len(AWAY) + 1
        await cluster.close()


async def test_V2_only_who_may_not_ask_for_a_coordinator_is_refused(half_minutes: None) -> None:
    async with FakeBroker({"t": 1}) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        broker.script(ApiKey.FIND_COORDINATOR, *AWAY[:1], int(ErrorCode.GROUP_AUTHORIZATION_FAILED))
        with pytest.raises(ConnectionLost, match="'g': COORDINATOR_NOT_AVAILABLE for too long"):
            await cluster._find_coordinator(Coordinator("group", "g"))
        with pytest.raises(RequestRefused, match="'g': GROUP_AUTHORIZATION_FAILED"):
            await cluster._find_coordinator(Coordinator("group", "g"))
        await cluster.close()
