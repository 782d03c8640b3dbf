"""What a unit sends: outputs, re-keyed records, dead letters and replies.

Everything is encoded when it is sent, so that it fails where the agent's policy can deal with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from flowstream.processing.agents.agent import keeps_bytes
from flowstream.processing.events.current import Destination, Headers
from flowstream.processing.events.dead_letters import dead_letters, late_error
from flowstream.processing.events.event import Arrival, Event, as_it_came
from flowstream.processing.events.redriven import Addressee, PassedBy
from flowstream.processing.events.replies import encode_reply, reply_headers, reply_to
from flowstream.processing.events.topic import Topic, header_pairs
from flowstream.processing.running.plan import Reader
from flowstream.processing.running.surroundings import Surroundings
from flowstream.processing.units.outputs import OutputTopic
from flowstream.processing.units.unit import Output


class Emitting:
    """The part of a feed that sends."""

    # Slots in all of its kind: CPython keeps 30 attributes of an instance at hand, they have more.
    __slots__ = (
        "_replied", "around", "origin", "outputs", "reader", "record",
    )  # fmt: skip

    def __init__(self, reader: Reader, around: Surroundings) -> None:
        self.reader = reader
        self.around = around
        self.record: Arrival | None = None
        self.origin = f"{around.app_id}/{reader.agent.name}"
        """As its events say where they were got."""
        self.outputs: list[Output] = []
        self._replied: list[Arrival] = []
        """Records whose senders have their reply in the open unit."""

    @property
    def label(self) -> str:
        """Who this is, for messages."""
        return f"agent {self.reader.agent.name!r} on {self.reader.topic}"

    def late_letter(self, table: str) -> None:
        """Send the event to the dead letters, because its windows have closed."""
        assert self.record is not None
        self.send_dead(self.record, late_error(table))

    def send_dead(self, record: Arrival, error: BaseException) -> None:
        """Add a record, with the reason, to the dead letters in the unit: as one of this agent,
        unless it was sent back to another one.
        """
        to = Addressee(self.reader.agent.name, self.reader.side)
        if isinstance(record, PassedBy):
            to, record = record.lost or to, record.came
        record = as_it_came(record)
        output = self.around.output(self.around.dead_letters)
        forms = dead_letters(record, error, app=self.around.app_id, agent=to.agent, side=to.side)
        for form in forms:
            if output.takes(*form):
                break
        output.check(*form)
        target, at_ms = output.place(form.key), record.timestamp
        now_ms = self.around.wall_time_ms()
        if not output.takes_time(at_ms, now_ms):
            at_ms = now_ms  # the headers say what it was
        self.outputs.append((target, form.key, form.value, at_ms, form.headers))
        self.around.counts.dead_letters += 1

    def reply(self, value: Any, error: BaseException | None = None) -> bool:
        """Answer whoever asked, once per event. False when the topic is not known (yet)."""
        record = self.record
        assert record is not None
        has_it = any(each is record for each in self._replied)
        to = None if has_it else reply_to(record.headers)
        if to is None:
            return True
        output = self.around.reply_output(to.topic)
        if output is None or to.partition >= output.partitions:
            return False
        data = encode_reply(value, self.reader.agent.reply_type and self.reader.agent.reply_codec)
        headers = reply_headers(to, error)
        output.check(None, data, headers)
        target = output.at(to.partition)
        self.outputs.append((target, None, data, self.around.wall_time_ms(), headers))
        self._replied.append(record)
        return True

    def hand_over(self, channel: Any, event: Event[Any]) -> None:
        """Put an event into a channel once the unit is committed (see `channels.Puts`)."""
        self.outputs.append((channel, cast("Any", event), None, 0, ()))

    def emit(
        self,
        topic: Destination,
        key: object,
        value: object,
        partition: int | None,
        timestamp_ms: int | None,
        headers: Headers,
    ) -> tuple[str, int]:
        """Add a record to the unit."""
        output = self.around.output(topic.name)
        raw = topic.encode_key(key)
        target = output.place(raw) if partition is None else output.at(partition)
        assert self.record is not None
        at = self.record.timestamp if timestamp_ms is None else timestamp_ms
        encoded, pairs = topic.encode_value(value), header_pairs(headers)
        self._check(output, raw, encoded, at, pairs)
        self.outputs.append((target, raw, encoded, at, pairs))
        return target

    def _check(
        self, output: OutputTopic, key: bytes | None, value: bytes | None, at_ms: int,
        headers: Sequence[tuple[str, bytes | None]],
    ) -> None:  # fmt: skip
        """Raise what the broker would refuse the record for."""
        output.check(key, value, headers)
        if at_ms > output.until_ms:
            output.check_time(at_ms, self.around.wall_time_ms())

    def pass_on(self, topic: Topic[Any, Any], value: object) -> None:
        """Add a record to the unit with the event's key, as the topic has keys."""
        record, keys = self.record, self.reader.keys
        assert record is not None
        raw = record.key
        if raw is not None and not keeps_bytes(keys, topic):
            raw = topic.encode_key(keys.decode(raw))
        output, data = self.around.output(topic.name), topic.encode_yielded(value)
        pairs: tuple[tuple[str, bytes | None], ...] = ()
        if topic.prepare is not None:
            key = None if record.key is None else keys.decode(record.key)
            pairs = header_pairs(topic.prepare(key, value, ()))
        self._check(output, raw, data, record.timestamp, pairs)
        self.outputs.append((output.place(raw), raw, data, record.timestamp, pairs))

    def forward(self, key: bytes | None, value: bytes | None) -> None:
        """Add the record, with this key and value, to the topic between the agent's parts."""
        record = self.record
        assert record is not None
        output = self.around.output(self.reader.forwards_to)
        headers = tuple(record.headers)
        self._check(output, key, value, record.timestamp, headers)
        self.outputs.append((output.place(key), key, value, record.timestamp, headers))
