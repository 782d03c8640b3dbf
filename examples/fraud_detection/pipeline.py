"""The pipeline: lines of CSV in, one scored row per payment and alerts out, every card remembered.

Run: `flowstream worker -A examples.fraud_detection.pipeline`. The judging is in `rules.py`; here is
only what flows where.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import flowstream as fs

from . import rules
from .models import Alert, Habit, Profile, Recent, Scored, Transaction

PARTITIONS = 4
FOREVER = {"retention.ms": "-1"}  # the payments are months old: keep them all the same

app = fs.App("fraud-detection")

lines = app.topic("card-lines", key_type=str, value_type=str, partitions=PARTITIONS, config=FOREVER)
payments = app.topic(
    "payments", key_type=str, value_type=Transaction, partitions=PARTITIONS, config=FOREVER
)
scored = app.topic("scored", key_type=str, value_type=Scored, partitions=PARTITIONS, config=FOREVER)
alerts = app.topic("alerts", key_type=str, value_type=Alert, partitions=PARTITIONS, config=FOREVER)

profiles = app.Table("card-profiles", key_type=str, value_type=Profile, default=Profile)
habits = app.Table("habits", key_type=str, value_type=Habit, default=Habit)
visits = app.Table("visits", key_type=str, value_type=int, default=int)
recent = app.Table("recent", key_type=str, value_type=Recent, default=Recent).hopping(
    rules.WINDOW_SIZE, rules.WINDOW_STEP, expires=0
)


@app.agent(lines, sink=[payments], on_error="dead_letter")
async def parse(stream: fs.Stream[str]) -> AsyncIterator[Transaction]:
    """Lines become payments; a malformed one becomes a dead letter that says why."""
    async for line in stream:
        yield Transaction.of_line(line)


@app.agent(payments, sink=[scored])
async def score(stream: fs.Stream[Transaction]) -> AsyncIterator[Scored]:
    """Judge each payment by what is known of its card, then remember it."""
    async for payment in stream:
        card = payment.card
        place, shop = f"{card}/{payment.category}", f"{card}/{payment.merchant}"
        profile, habit, before = profiles[card], habits[place], recent[card].earliest()
        points, reasons = rules.judge(rules.observe(payment, profile, habit, before, visits[shop]))
        suspicious = rules.is_alert(points)
        recent[card].apply(lambda window, amount=payment.amount: rules.more(window, amount))
        visits[shop] += 1
        if not suspicious:
            habits[place] = rules.learn(habit, payment.amount)
        profiles[card] = rules.remember(profile, payment, suspicious)
        yield rules.scored(payment, points, reasons)


@app.agent(scored, sink=[alerts])
async def alert(stream: fs.Stream[Scored]) -> AsyncIterator[Alert]:
    """Payments with a high score go to the analysts."""
    async for row in stream.filter(lambda row: rules.is_alert(row.score)):
        yield rules.alert_of(row)
