"""What the pipeline reads, keeps and writes, as pydantic models. No rule and no I/O lives here.

The models are frozen: a table hands out a frozen value as it is, without a copy per event.
"""

from __future__ import annotations

import csv

from pydantic import BaseModel, ConfigDict, Field

COLUMNS = (
    "transaction_id",
    "unix_time",
    "card",
    "amount",
    "category",
    "merchant",
    "merchant_lat",
    "merchant_long",
    "home_lat",
    "home_long",
    "city",
    "state",
    "is_fraud",
)


class Frozen(BaseModel):
    """A value that is replaced, never changed."""

    model_config = ConfigDict(frozen=True)


class Transaction(Frozen):
    transaction_id: str = Field(pattern=r"^T\d{8}$")
    unix_time: int = Field(gt=0)
    card: str = Field(pattern=r"^\d{11,19}$")
    amount: float = Field(gt=0)
    category: str
    merchant: str
    merchant_lat: float = Field(ge=-90, le=90)
    merchant_long: float = Field(ge=-180, le=180)
    home_lat: float = Field(ge=-90, le=90)
    home_long: float = Field(ge=-180, le=180)
    city: str
    state: str
    is_fraud: bool

    @classmethod
    def of_line(cls, line: str) -> Transaction:
        """The payment on one line of CSV; ValueError says what is wrong with any other line."""
        try:
            (cells,) = csv.reader([line], strict=True)
        except csv.Error as error:
            raise ValueError(f"not a line of CSV: {error}") from error
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{len(cells)} cells instead of {len(COLUMNS)}")
        return cls.model_validate(dict(zip(COLUMNS, cells, strict=True)))


class Habit(Frozen):
    """Running mean and deviation of log(amount) (Welford): what a card usually spends."""

    count: int = 0
    mean: float = 0.0
    spread: float = 0.0  # sum of squared differences from the mean


class Profile(Frozen):
    """What is known about one card: the row of the card-profile table."""

    payments: int = 0
    spent: float = 0.0
    alerts: int = 0
    habit: Habit = Habit()
    last_time: int = 0
    last_lat: float = 0.0
    last_long: float = 0.0
    last_alert: int | None = None


class Recent(Frozen):
    """Payments of one card inside one window."""

    count: int = 0
    spent: float = 0.0


class Scored(Frozen):
    """One payment with its verdict: exactly one per well-formed line."""

    transaction_id: str
    unix_time: int
    card: str
    amount: float
    category: str
    merchant: str
    score: int
    reasons: list[str]
    is_fraud: bool


class Alert(Frozen):
    """A payment that an analyst should look at, with the reasons in words."""

    transaction_id: str
    unix_time: int
    card: str
    amount: float
    merchant: str
    score: int
    reasons: list[str]
    is_fraud: bool
