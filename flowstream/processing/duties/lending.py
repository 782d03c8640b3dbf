"""What a worker lends its agent instances: outputs, the clock, counters, the topic of replies.

Shell; the part of a worker that `surroundings.Surroundings` describes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from flowstream.processing.agents.onlookers import Onlookers
from flowstream.processing.app import App
from flowstream.processing.duties.retaining import OldRecords
from flowstream.processing.environment.stopping import Stopping
from flowstream.processing.errors import AppError
from flowstream.processing.running.committed import Committed
from flowstream.processing.running.surroundings import Counts
from flowstream.processing.units.outputs import OutputTopic
from flowstream.processing.watching.meters import Meters
from flowstream.transport.batches import RecordBuffer


class Lending:
    """The part of a worker that its instances see."""

    def __init__(self, app: App, buffer: RecordBuffer, clock: Callable[[], int]) -> None:
        self.app = app
        self.settings = app.settings
        self.counts = Counts()
        self.meters = Meters()
        self.committed = Committed()
        self.has_looked_for_replies = False
        self.onlookers = Onlookers(app)
        self.web_address: str | None = None
        """HOST:PORT where the worker can be visited, if it can (see `web.serving`)."""
        self._buffer = buffer
        self._clock = clock
        self._outputs: dict[str, OutputTopic] = {}
        self.old_records = OldRecords()
        """Who is told of the times of what is read."""
        self.is_outgrown = False
        self.hurry = asyncio.Event()
        """Set when the topics are to be looked at before it is time."""
        self.stopping = Stopping()
        self._failure: BaseException | None = None

    @property
    def app_id(self) -> str:
        """The app's id."""
        return self.app.id

    @property
    def wants_stop(self) -> bool:
        """True once `stop` was called or something failed."""
        return self.stopping.is_set

    @property
    def append(self) -> Callable[..., None]:
        """Add a record to the open epoch."""
        return self.onlookers.appending(self._buffer.append)

    @property
    def dead_letters(self) -> str:
        """The topic of dead letters."""
        return self.app.dead_letters

    def output(self, topic: str) -> OutputTopic:
        """A topic to write to."""
        try:
            return self._outputs[topic]
        except KeyError:
            raise AppError(
                f"topic {topic!r} was declared after the worker started: call app.topic at import"
            ) from None

    @property
    def replies(self) -> str:
        """The topic of replies of this app."""
        return self.app.replies

    def reply_output(self, topic: str) -> OutputTopic | None:
        """A topic for replies: that of this app, or one that it declares. None when it is neither,
        or not there (yet).
        """
        is_ours = topic == self.app.replies or topic in self.app.topics
        return self._outputs.get(topic) if is_ours else None

    def plan_again(self) -> None:
        """There is a topic that the plan does not know: join anew with another plan."""
        self.has_looked_for_replies = True
        self.outgrown()

    def outgrown(self) -> None:
        """A topic has more partitions than the plan knows: finish, and plan anew."""
        self.is_outgrown = True

    def wall_time_ms(self) -> int:
        """Now, by the clock door."""
        return self._clock()

    def fail(self, error: BaseException) -> None:
        """Stop after committing what is complete; `run` raises the first error it was told."""
        if self._failure is None:
            self._failure = error
        self.stopping.set()
