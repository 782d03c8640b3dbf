"""The same results in one pass over the file: what the pipeline must have told.

Knows of flowstream nothing; of the pipeline only its numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from .models import Counted, Hit, Referral, Session
from .pipeline import BOT, BURST, FIVE_MINUTES, HALF_HOUR, HOUR, MINUTE, SESSION_GAP


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that is told of a log, each list in order."""

    malformed: int
    sessions: list[Session]
    pages: list[Counted]
    statuses: list[Counted]
    bursts: list[Counted]
    bots: list[Counted]
    referrals: list[Referral]


def reference(lines: Iterable[str], kinds: dict[str, str]) -> Results:
    """The results of a log's lines."""
    hits, malformed = [], 0
    for line in lines:
        try:
            hits.append(Hit.of_line(line))
        except ValueError:
            malformed += 1
    sessions = sorted(sessions_of(hits))
    statuses = counted(((f"{hit.status // 100}xx", hit.at) for hit in hits), FIVE_MINUTES)
    return Results(
        malformed,
        sessions,
        counted(((hit.path, hit.at) for hit in hits), HOUR, HALF_HOUR),
        statuses,
        [each for each in statuses if each.what == "5xx" and each.count >= BURST],
        [e for e in counted(((h.visitor, h.at) for h in hits), MINUTE) if e.count >= BOT],
        sorted(Referral(s.visitor, s.start, kinds.get(s.referrer, "other")) for s in sessions),
    )


def sessions_of(hits: Iterable[Hit]) -> Iterable[Session]:
    """Each visitor's hits, parted where there is a long pause."""
    by_visitor: dict[str, list[Hit]] = defaultdict(list)
    for hit in hits:
        by_visitor[hit.visitor].append(hit)
    for visitor, found in by_visitor.items():
        found.sort(key=lambda hit: (hit.at, hit.referrer))
        session: list[Hit] = []
        for hit in [*found, None]:
            if session and (hit is None or hit.at - session[-1].at >= SESSION_GAP):
                first, last = session[0], session[-1]
                size = sum(each.size for each in session)
                seconds = last.at - first.at
                yield Session(visitor, first.at, seconds, len(session), size, first.referrer)
                session = []
            if hit is not None:
                session.append(hit)


def counted(
    events: Iterable[tuple[str, float]], size: int, step: int | None = None
) -> list[Counted]:
    """How often each name came in each window."""
    step = step or size
    counts: Counter[tuple[str, float]] = Counter()
    for name, at in events:
        start = at - at % step
        while start > at - size:
            counts[name, start] += 1
            start -= step
    return sorted(Counted(name, start, count) for (name, start), count in counts.items())
