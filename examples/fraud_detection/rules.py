"""The fraud rules: pure functions from what is known about a card to a score with reasons.

Every rule is one line of `RULES` that an analyst can read and change. Nothing here knows
flowstream, reads a clock, or looks at the label.

How the points were chosen: a logistic regression over these same signals on the cards that are
*not* in the sample file, rounded. `python -m examples.fraud_detection.evaluate FILE` prints what
they reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import asin, cos, log, radians, sin, sqrt
from typing import NamedTuple

from .models import Alert, Habit, Profile, Recent, Scored, Transaction

HOUR = 3600
DAY = 24 * HOUR
WINDOW_SIZE = 6 * HOUR
WINDOW_STEP = 2 * HOUR
ALERT_SCORE = 65

# What the first payments of a card are compared with, and how many own payments outweigh it.
PRIOR = Habit(count=5, mean=3.5, spread=7.5)
LEAST_DEVIATION = 0.5  # in log(amount); keeps a card of equal amounts from alerting at a cent more
EARTH_DIAMETER_KM = 12742.0


@dataclass(frozen=True, slots=True)
class Signals:
    """Everything a rule may look at. Times in seconds, speed in km/h, amounts in USD."""

    amount: float
    deviations: float
    category: str
    hour: int
    recent_count: int
    recent_spent: float
    speed: float
    first_time_merchant: bool
    since_alert: float

    @property
    def night(self) -> bool:
        """Between 22:00 and 04:00."""
        return self.hour >= 22 or self.hour < 4


class Rule(NamedTuple):
    """`points` are added when `applies`; `reason` is the name that reports count by."""

    reason: str
    points: int
    applies: Callable[[Signals], bool]
    detail: Callable[[Signals], str]


RULES = (
    Rule("large amount", 27, lambda s: s.amount > 250, lambda s: f"{s.amount:.2f}"),
    Rule("very large amount", 25, lambda s: 700 < s.amount < 1300, lambda s: f"{s.amount:.2f}"),
    Rule("night", 20, lambda s: s.night, lambda s: f"{s.hour:02d}h"),
    Rule("large at night", 10, lambda s: s.night and s.amount > 250, lambda s: f"{s.amount:.2f}"),
    Rule(
        "unusual for this card", 6, lambda s: s.deviations > 1.5, lambda s: f"{s.deviations:.1f} sd"
    ),
    Rule(
        "velocity",
        6,
        lambda s: s.recent_count >= 4 or s.recent_spent > 1500,
        lambda s: f"{s.recent_count} payments, {s.recent_spent:.0f} in 6 h",
    ),
    Rule("impossible travel", 3, lambda s: s.speed > 900, lambda s: f"{s.speed:.0f} km/h"),
    Rule("first-time merchant", 4, lambda s: s.first_time_merchant, lambda s: "never paid before"),
    Rule(
        "recent alert",
        28,
        lambda s: s.since_alert < 2 * DAY,
        lambda s: f"{s.since_alert / HOUR:.0f} h ago",
    ),
    Rule("alert just before", 15, lambda s: s.since_alert < 6 * HOUR, lambda s: "same spree"),
    Rule(
        "online shop", 5, lambda s: s.category in ("shopping_net", "misc_net"), lambda s: s.category
    ),
)


def observe(
    payment: Transaction, profile: Profile, habit: Habit, recent: Recent, visits: int
) -> Signals:
    """The signals of `payment`, given what was known *before* it."""
    return Signals(
        amount=payment.amount,
        deviations=deviations(payment.amount, habit, profile.habit),
        category=payment.category,
        hour=payment.unix_time // HOUR % 24,
        recent_count=recent.count,
        recent_spent=recent.spent,
        speed=speed(payment, profile),
        first_time_merchant=visits == 0,
        since_alert=float("inf")
        if profile.last_alert is None
        else payment.unix_time - profile.last_alert,
    )


def judge(signals: Signals) -> tuple[int, list[str]]:
    """The score and the reasons for it, the heaviest first."""
    hits = sorted((rule for rule in RULES if rule.applies(signals)), key=lambda rule: -rule.points)
    return sum(r.points for r in hits), [f"{r.reason}: {r.detail(signals)}" for r in hits]


def is_alert(score: int) -> bool:
    """Whether an analyst should see it."""
    return score >= ALERT_SCORE


def deviations(amount: float, category: Habit, card: Habit) -> float:
    """How many standard deviations above the card's usual amount in this category, on the log
    scale.

    The category's own payments are blended with the card's, and those with a prior, so that the
    first payments of a new card or category are judged mildly.
    """
    basis = blend(category, blend(card, PRIOR))
    deviation = sqrt(basis.spread / basis.count)
    return (log(amount + 1) - basis.mean) / max(LEAST_DEVIATION, deviation)


def blend(own: Habit, prior: Habit) -> Habit:
    """`own` pulled towards `prior` with the weight of `PRIOR.count` payments."""
    weight = PRIOR.count
    count = own.count + weight
    mean = (own.count * own.mean + weight * prior.mean) / count
    return Habit.model_construct(
        count=count, mean=mean, spread=own.spread + prior.spread * weight / prior.count
    )


def learn(habit: Habit, amount: float) -> Habit:
    """`habit` with one more payment (Welford's update)."""
    value, count = log(amount + 1), habit.count + 1
    mean = habit.mean + (value - habit.mean) / count
    spread = habit.spread + (value - habit.mean) * (value - mean)
    return Habit.model_construct(count=count, mean=mean, spread=spread)


def more(recent: Recent, amount: float) -> Recent:
    """`recent` with one more payment."""
    return Recent.model_construct(count=recent.count + 1, spent=round(recent.spent + amount, 2))


def remember(profile: Profile, payment: Transaction, alert: bool) -> Profile:
    """The card after `payment`. What looked like fraud is not learned as a habit."""
    return Profile.model_construct(
        payments=profile.payments + 1,
        spent=round(profile.spent + payment.amount, 2),
        alerts=profile.alerts + alert,
        habit=profile.habit if alert else learn(profile.habit, payment.amount),
        last_time=payment.unix_time,
        last_lat=payment.merchant_lat,
        last_long=payment.merchant_long,
        last_alert=payment.unix_time if alert else profile.last_alert,
    )


def speed(payment: Transaction, profile: Profile) -> float:
    """Speed in km/h needed to get here from the card's last payment; 0 for the first."""
    if profile.payments == 0:
        return 0.0
    hours = max((payment.unix_time - profile.last_time) / HOUR, 1 / 60)
    km = distance_km(
        profile.last_lat, profile.last_long, payment.merchant_lat, payment.merchant_long
    )
    return km / hours


def distance_km(lat_a: float, long_a: float, lat_b: float, long_b: float) -> float:
    """Great-circle distance (haversine)."""
    phi_a, phi_b = radians(lat_a), radians(lat_b)
    half = sin((phi_b - phi_a) / 2) ** 2
    half += cos(phi_a) * cos(phi_b) * sin(radians(long_b - long_a) / 2) ** 2
    return EARTH_DIAMETER_KM * asin(sqrt(half))


def scored(payment: Transaction, score: int, reasons: list[str]) -> Scored:
    """The output row of `payment`."""
    return Scored(
        transaction_id=payment.transaction_id,
        unix_time=payment.unix_time,
        card=payment.card,
        amount=payment.amount,
        category=payment.category,
        merchant=payment.merchant,
        score=score,
        reasons=reasons,
        is_fraud=payment.is_fraud,
    )


def alert_of(row: Scored) -> Alert:
    """The alert for a scored payment."""
    return Alert(
        transaction_id=row.transaction_id,
        unix_time=row.unix_time,
        card=row.card,
        amount=row.amount,
        merchant=row.merchant,
        score=row.score,
        reasons=row.reasons,
        is_fraud=row.is_fraud,
    )
