"""Models whose JSON would not be read as it was written are refused where they are kept."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

import flowstream as fs
from flowstream.processing.errors import AppError


class Trade(fs.Record):
    """As somebody else writes it."""

    price: float = pydantic.Field(default=0.0, alias="p")


class Both(fs.Record, serialize_by_alias=True):
    """By its alias in both directions."""

    price: float = pydantic.Field(alias="p")


class ByName(pydantic.BaseModel, validate_by_name=True):
    """Read by either name."""

    price: float = pydantic.Field(alias="p")


class Choice(pydantic.BaseModel):
    """Read by one of several names."""

    price: float = pydantic.Field(validation_alias=pydantic.AliasChoices("p", "price"))


class Written(pydantic.BaseModel, serialize_by_alias=True):
    """Written by another name than it is read by."""

    price: float = pydantic.Field(serialization_alias="p")


class Mended(pydantic.BaseModel):
    """What it is read by, a function says."""

    price: float = pydantic.Field(alias="p")

    @pydantic.model_validator(mode="before")
    @classmethod
    def renamed(cls, data: Any) -> Any:
        """By either name."""
        return {"p": data["price"]} if "price" in data else data


class Hidden(pydantic.BaseModel):
    """With a field that is never written."""

    secret: str = pydantic.Field(exclude=True)


class Day(pydantic.BaseModel):
    """Trades in lists, and itself."""

    trades: list[Trade]
    before: Day | None = None


DECLARE: dict[str, Callable[[fs.App, Any], object]] = {
    "table 'kept'": lambda app, kind: app.Table("kept", value_type=kind),
    "table 'keys'": lambda app, kind: app.Table("keys", key_type=kind, value_type=int),
    "table 'sets'": lambda app, kind: app.SetTable("sets", value_type=kind),
    "timers 'due'": lambda app, kind: app.Timers("due", value_type=kind),
    "table 'of'": lambda app, kind: app.table(app.topic("of", value_type=kind)),
    "agent 'own'": lambda app, kind: app.agent(value_type=kind, name="own")(reading),
}


async def reading(stream: fs.Stream[Any]) -> None:
    """An agent."""
    async for _ in stream:
        pass


@pytest.mark.parametrize("what", DECLARE)
def test_what_is_kept_must_come_back(what: str) -> None:
    app = fs.App("shop")
    with pytest.raises(
        AppError, match=f"^{what}: field 'price' of Trade is written as 'price' and"
    ):
        DECLARE[what](app, Trade)
    DECLARE[what](fs.App("shop"), Both)


@pytest.mark.parametrize("kind", [Both, ByName, Choice, Mended, datetime.date, list[Both], Any])
def test_what_comes_back_is_taken(kind: Any) -> None:
    fs.App("shop").Table("kept", value_type=kind)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Written, "field 'price' of Written is written as 'p' and read as 'price'"),
        (Hidden, "field 'secret' of Hidden is required and never written"),
        (Day, "field 'price' of Trade is written as 'price' and read as 'p'"),
        (dict[str, list[Trade] | None], "field 'price' of Trade"),
    ],
)
def test_what_does_not_is_refused(kind: Any, said: str) -> None:
    with pytest.raises(AppError, match=said):
        fs.App("shop").Table("kept", value_type=kind)


async def test_values_that_a_window_collects_come_back() -> None:
    app = fs.App("shop")

    @app.agent(app.topic("trades", value_type=Trade))
    async def collect(stream: fs.Stream[Trade]) -> None:
        async for _ in stream.tumbling(60).collect():
            pass

    with pytest.raises(AppError, match=r"agent 'collect': collect\(\): field 'price' of Trade"):
        await collect.probe()


def test_a_topic_may_be_read_by_other_names() -> None:
    topic = fs.App("shop").topic("trades", value_type=Trade)
    assert topic.value_codec.decode(b'{"p":1.5}').price == 1.5
