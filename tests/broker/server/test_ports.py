"""V1: a broker's port can be had again after its death, however often its clients try it."""

from __future__ import annotations

import random

import pytest

from flowstream.broker.server.listener import PortTaken, bind
from flowstream.broker.server.ports import LOWEST, candidates, ephemeral_from


def test_V1_a_picked_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    with bind("127.0.0.1", 0) as listening:
        assert LOWEST <= listening.getsockname()[1] < ephemeral_from()


def test_the_systems_choice_comes_last() -> None:
    ports = list(candidates(random.Random(1), 32_768))
    assert ports[-1] == 0
    assert all(LOWEST <= port < 32_768 for port in ports[:-1])
    assert list(candidates(random.Random(1), 1_024)) == [0]


def test_a_taken_port_is_refused_with_the_remedy() -> None:
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(PortTaken, match="--port"):
            bind("127.0.0.1", port)
