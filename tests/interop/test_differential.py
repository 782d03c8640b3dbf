"""The same requests to this broker and to a real Apache Kafka, every API in every version, right
and wrong: error codes and shapes of the answers are compared, and what differs has a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest

from tests.free_ports import free_ports
from tests.interop.conftest import BrokerProcess
from tests.interop.differential import (
    administration,
    consumer_groups,
    denied,
    groups,
    over_time,
    partial,
    records,
    topics,
    transactions,
)
from tests.interop.differential.accepted import is_accepted
from tests.interop.differential.asking import Client, differences
from tests.interop.test_exchange import kafka
from tests.interop.test_java import pytestmark

__all__ = ["pytestmark"]

SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.min.session.timeout.ms": "1000",
    # The records are of one moment, years ago: whoever looks at retention first would have none.
    "log.retention.ms": "-1",
    "sasl.enabled.mechanisms": "PLAIN",
    "super.users": "User:ANONYMOUS",
}
NOBODY = ("nobody", "secret")
JAAS = "org.apache.kafka.common.security.plain.PlainLoginModule required"
MODULES = (
    topics, records, groups, consumer_groups, transactions, administration, over_time,
)  # fmt: skip
STORIES = [story for module in MODULES for story in module.STORIES]


class Brokers(NamedTuple):
    """Addresses, ours and Kafka's: of everyone's listener and of that where clients log in."""

    plain: tuple[str, str]
    sasl: tuple[str, str]


def of_kafka(port: int) -> list[str]:
    """The settings of a Kafka whose clients log in at `port`."""
    plain, sasl = "PLAINTEXT://127.0.0.1:{port}", f"SASL_PLAINTEXT://127.0.0.1:{port}"
    user, secret = NOBODY
    return [
        f"listeners={plain},CONTROLLER://127.0.0.1:{{controller}},{sasl}",
        f"advertised.listeners={plain},{sasl}",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "SASL_PLAINTEXT:SASL_PLAINTEXT",
        "inter.broker.listener.name=PLAINTEXT",
        f'listener.name.sasl_plaintext.plain.sasl.jaas.config={JAAS} user_{user}="{secret}";',
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    ]


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """Both of them, on empty directories."""
    data = tmp_path_factory.mktemp("differential")
    users = data / "users"
    users.write_text(":".join(NOBODY))
    users.chmod(0o600)
    settings = [f"{name}={value}" for name, value in SETTINGS.items()]
    mine, theirs = free_ports(2)
    sasl = f"listeners=PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:{mine}"
    options = [text for each in ("node.id=1", sasl, *settings) for text in ("--set", each)]
    ours = BrokerProcess(data / "ours", ("--users", str(users), *options)).start()
    with kafka(data / "theirs", *settings, *of_kafka(theirs)) as address:
        yield Brokers((ours.address, address), (f"127.0.0.1:{mine}", f"127.0.0.1:{theirs}"))
    assert ours.stop() == 0


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_both_answer_alike(brokers: Brokers, story: Callable[[Client], None]) -> None:
    clients = [Client(address) for address in brokers.plain]
    for client in clients:
        client.begin()
    compare(clients, story)


@pytest.mark.parametrize("story", denied.STORIES, ids=lambda story: story.__name__)
def test_X2_both_refuse_alike(brokers: Brokers, story: Callable[[Client], None]) -> None:
    """Whoever may nothing."""
    for address in brokers.plain:
        client = Client(address)
        client.begin()
        client.quietly(19, {"topics": [TOPIC], "timeout_ms": 5000}, 7)
        client.close()
    compare([Client(address, *NOBODY) for address in brokers.sasl], story)


@pytest.mark.parametrize("story", partial.STORIES, ids=lambda story: story.__name__)
def test_X2_both_let_pass_alike(brokers: Brokers, story: Callable[[Client, Client], None]) -> None:
    """Whoever may do a part of what it asks."""
    users = [Client(address, *NOBODY) for address in brokers.sasl]
    for address, user in zip(brokers.plain, users, strict=True):
        admin = Client(address)
        partial.prepare(admin)
        story(admin, user)
        partial.rules(admin, ())
        admin.close()
    compare(users, lambda user: None)


TOPIC = {"name": "dt", "num_partitions": 1, "replication_factor": 1}


def compare(clients: Sequence[Client], story: Callable[[Client], None]) -> None:
    for client in clients:
        story(client)
        client.close()
    told = differences(*(client.lines for client in clients))
    found = [f"{where}\n    {what}" for where, what in told if not is_accepted(where)]
    assert not found, "\n".join(found)
