"""All kinds of apps that are simulated."""

from __future__ import annotations

from tests.simulation.workers import beside, coming, plain, timely

KINDS = (
    plain.aggregate,
    timely.windows,
    timely.sessions,
    plain.group_by,
    timely.stream_join,
    plain.failing,
    timely.timers,
    timely.as_of_join,
    plain.dedupe,
    timely.table_join,
    beside.lanes,
    beside.takes,
    beside.standbys,
    beside.crontab,
    beside.foreign_join,
    coming.pattern,
    coming.at_least_once,
)
