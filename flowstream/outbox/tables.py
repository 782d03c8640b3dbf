"""What outboxes keep in a database, in SQL that SQLite and PostgreSQL share. Pure."""

from __future__ import annotations

CREATE = (
    "CREATE TABLE IF NOT EXISTS flowstream_offsets (app TEXT NOT NULL, outbox TEXT NOT NULL,"
    " topic TEXT NOT NULL, part INTEGER NOT NULL, topic_id TEXT NOT NULL,"
    " next_offset BIGINT NOT NULL, PRIMARY KEY (app, outbox, topic, part))",
    "CREATE TABLE IF NOT EXISTS flowstream_aside (app TEXT NOT NULL, outbox TEXT NOT NULL,"
    " topic TEXT NOT NULL, part INTEGER NOT NULL, at_offset BIGINT NOT NULL,"
    " reason TEXT NOT NULL, PRIMARY KEY (app, outbox, topic, part, at_offset))",
)

TABLES = ("flowstream_offsets", "flowstream_aside")

_PLACE = "app = {0} AND outbox = {0} AND topic = {0} AND part = {0}"


class Statements:
    """The statements, with a driver's placeholder; `locking` ends a SELECT that locks its row."""

    def __init__(self, mark: str, locking: str) -> None:
        place = _PLACE.format(mark)
        six = ", ".join([mark] * 6)
        self.insert = (
            "INSERT INTO flowstream_offsets (app, outbox, topic, part, topic_id, next_offset)"
            f" VALUES ({six}) ON CONFLICT DO NOTHING"
        )
        self.replace = (
            "INSERT INTO flowstream_offsets (app, outbox, topic, part, topic_id, next_offset)"
            f" VALUES ({six}) ON CONFLICT (app, outbox, topic, part) DO UPDATE"
            " SET topic_id = excluded.topic_id, next_offset = excluded.next_offset"
        )
        self.select = f"SELECT topic_id, next_offset FROM flowstream_offsets WHERE {place}{locking}"
        self.known = (
            f"SELECT count(*) FROM flowstream_offsets WHERE app = {mark} AND outbox = {mark}"
        )
        self.update = f"UPDATE flowstream_offsets SET next_offset = {mark} WHERE {place}"
        self.put_aside = (
            "INSERT INTO flowstream_aside (app, outbox, topic, part, at_offset, reason)"
            f" VALUES ({six}) ON CONFLICT DO NOTHING"
        )
        self.aside = (
            f"SELECT at_offset, reason FROM flowstream_aside WHERE {place}"
            f" AND at_offset >= {mark} AND at_offset < {mark}"
        )
