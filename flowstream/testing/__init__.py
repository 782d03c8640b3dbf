"""For tests of your own apps: in memory on virtual time, or against a real broker in the test.

with app.test_context() as context:
    context.topic(orders).send(Order(...), key="ada")
    assert context.topic(alerts).values == [...]
"""

from flowstream.testing.agents import AgentContext
from flowstream.testing.broker import Broker
from flowstream.testing.context import AppContext
from flowstream.testing.crew import StillBusy
from flowstream.testing.exactly_once import Input, Report, assert_exactly_once
from flowstream.testing.tables import TableView
from flowstream.testing.topics import DeadLetter, Received, TopicBox

__all__ = [
    "AgentContext",
    "AppContext",
    "Broker",
    "DeadLetter",
    "Input",
    "Received",
    "Report",
    "StillBusy",
    "TableView",
    "TopicBox",
    "assert_exactly_once",
]
