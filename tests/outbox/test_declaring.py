"""What an outbox can be declared as."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs


def refused(how: dict[str, Any], function: Any = lambda db, events: None) -> None:
    app = fs.App("refused")
    timed = how.pop("timed", None)
    topic = app.topic("in", value_type=dict, timestamp=timed) if timed else app.topic("in")
    app.outbox(topic, **{"to": fs.SQLite("x.db"), "name": "store", **how})(function)


async def an_async_one(db: Any, events: Any) -> None: ...


@pytest.mark.parametrize(
    ("how", "function", "told"),
    [
        ({"on_error": "park"}, None, "cannot park"),
        ({"batch": 0}, None, "batch is how many events .* from 1 on, not 0"),
        ({"batch": None}, None, "batch is how many events .* from 1 on, not None"),
        ({"within": -1}, None, "outbox: within must not be negative"),
        ({"timed": "at"}, None, "without timestamp="),
        ({"to": "sqlite:x.db"}, None, "to= is a database"),
        ({"to": fs.SQLite}, None, "to= is a database"),
        ({}, an_async_one, "plain `def`"),
        ({}, lambda db: None, "a connection and a list of events"),
    ],
)
def test_what_an_outbox_cannot_be(how: dict[str, Any], function: Any, told: str) -> None:
    with pytest.raises(fs.AppError, match=told):
        refused(how, *([function] if function else []))


def test_X5_a_password_is_not_shown() -> None:
    assert "secret" not in repr(fs.PostgreSQL("postgresql://me:secret@db/shop"))
