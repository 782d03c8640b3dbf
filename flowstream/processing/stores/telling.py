"""Telling an app of what a store takes over from a changelog (`on_changelog_event=`).

Shell: calls functions of the app. What fails in one is no affair of the store.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from flowstream.processing.errors import RowUnreadable
from flowstream.processing.tables.changelog_events import changelog_event
from flowstream.processing.tables.table import Table
from flowstream.processing.values.codecs import DECODE_ERRORS
from flowstream.transport.types import LogRecord, TopicPartition

log = logging.getLogger("flowstream.restore")

AT_ONCE = 500
"""Calls, after which others have their turn."""

UNREADABLE: tuple[type[Exception], ...] = (RowUnreadable, *DECODE_ERRORS)

Tell = Callable[[TopicPartition, Sequence[LogRecord]], Awaitable[None]]


def tell_of(table: Table[Any, Any]) -> Tell | None:
    """What tells of a table's changelog, if anybody wants to know."""
    told = table.changelog_told
    return None if told is None else partial(_tell, table, told)


async def _tell(
    table: Table[Any, Any],
    told: Callable[[Any], Any],
    changelog: TopicPartition,
    records: Sequence[LogRecord],
) -> None:
    for number, record in enumerate(records, 1):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            event = changelog_event(table, changelog, record)
        except UNREADABLE as error:
            log.warning("%s-%d, offset %d is not told: %s", *changelog, record.offset, error)
            continue
        if event is None:
            continue
        try:
            answer = told(event)
            if inspect.isawaitable(answer):
                await answer
        except Exception:  # the outermost line of user code
            log.exception("on_changelog_event of table %r failed", table.name)
