"""The same requests to this broker and to a real Apache Kafka, every API in every version, right
and wrong: error codes and shapes of the answers are compared, and what differs has a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.interop.conftest import BrokerProcess
from tests.interop.differential import administration, groups, topics, transactions
from tests.interop.differential.accepted import is_accepted
from tests.interop.differential.asking import Client, differences
from tests.interop.test_exchange import kafka
from tests.interop.test_java import pytestmark

__all__ = ["pytestmark"]

SETTINGS = {
    "auto.create.topics.enable": "false",
    "group.min.session.timeout.ms": "1000",
    "super.users": "User:ANONYMOUS",
}
AUTHORIZER = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
STORIES = [
    story for module in (topics, groups, transactions, administration) for story in module.STORIES
]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Ours and Kafka's."""
    settings = [f"{name}={value}" for name, value in SETTINGS.items()]
    options = [text for each in ("node.id=1", *settings) for text in ("--set", each)]
    data = tmp_path_factory.mktemp("differential")
    ours = BrokerProcess(data / "ours", tuple(options)).start()
    with kafka(data / "theirs", *settings, AUTHORIZER) as theirs:
        yield ours.address, theirs
    assert ours.stop() == 0


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_both_answer_alike(addresses: tuple[str, str], story: Callable[[Client], None]) -> None:
    told = []
    for address in addresses:
        client = Client(address)
        client.begin()
        story(client)
        client.close()
        told.append(client.lines)
    found = [f"{where}\n    {what}" for where, what in differences(*told) if not is_accepted(where)]
    assert not found, "\n".join(found)
