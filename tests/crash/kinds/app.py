"""The app that workers run: the kinds that FLOWSTREAM_TEST_KINDS names, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence

import flowstream as fs
from tests.crash.kinds.asking import Asked
from tests.crash.kinds.beside import Ordered, Outbox, Unordered
from tests.crash.kinds.failing import DeadLettered, Parked, Retried, Skipped
from tests.crash.kinds.foreign import Foreign, ForeignLeft
from tests.crash.kinds.joins import AsOf, Inner, Left, Lookup, Outer
from tests.crash.kinds.kind import Kind
from tests.crash.kinds.lingering import linger_in_this_process
from tests.crash.kinds.patterns import Pattern
from tests.crash.kinds.repeating import AtLeastOnce, KeptAtLeastOnce, RegroupedAtLeastOnce
from tests.crash.kinds.reshaping import Dedupe, Regrouped, RegroupedWindows, Through
from tests.crash.kinds.tables import Aggregate, Expiring, TwoTables, TwoTablesOuter
from tests.crash.kinds.timing import ClockTimers, Crontab, EventTimers
from tests.crash.kinds.windows import (
    Closed,
    Filtered,
    Hopping,
    Interim,
    Kept,
    OnChange,
    Session,
    Sliding,
    Tumbling,
)

NAME = "kinds"
VARIABLE = "FLOWSTREAM_TEST_KINDS"
IDLE_S = 3600.0
"""No source of an app is silent for so long: none is left behind while somebody is dead."""

KINDS: dict[str, type[Kind]] = {
    kind.name: kind
    for kind in (
        Aggregate, Expiring, TwoTables, TwoTablesOuter, Tumbling, Hopping, Sliding, Session,
        Interim, OnChange, Closed, Kept, Inner, Left, Outer, AsOf, Lookup, Regrouped, Through,
        RegroupedWindows, Dedupe, EventTimers, ClockTimers, Crontab, Retried, Parked,
        DeadLettered, Skipped, Asked, Filtered, Ordered, Unordered, Outbox, Foreign, ForeignLeft,
        Pattern, AtLeastOnce, RegroupedAtLeastOnce, KeptAtLeastOnce,
    )
}  # fmt: skip


def app_of(kinds: list[Kind], **settings: object) -> fs.App:
    """One app of several kinds that go together."""
    for kind in kinds:
        settings |= kind.settings
    made = fs.App(NAME, source_idle=IDLE_S, retry_backoff=0.01, **settings)  # type: ignore[arg-type]
    for kind in kinds:
        kind.declare(made)
    return made


def company(kinds: Sequence[str], most: int) -> list[str]:
    """The first of these kinds, and those that may be with it in one run, in their order."""

    def needs(kind: type[Kind]) -> object:
        return kind.settings, kind.lingers, kind.spares

    return [name for name in kinds if needs(KINDS[name]) == needs(KINDS[kinds[0]])][:most]


given = [KINDS[name]() for name in os.environ.get(VARIABLE, "").split(",") if name]
if any(kind.lingers for kind in given):
    linger_in_this_process()
app = app_of(given)
