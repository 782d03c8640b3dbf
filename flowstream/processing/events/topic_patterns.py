"""Topics by a pattern: whichever of a cluster's topics have a name that it matches.

Declarations. Knows no cluster: what matches is found when a worker plans (`duties.matching`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.deriving import derived
from flowstream.processing.events.topic import DERIVED, Topic

K = TypeVar("K")
V = TypeVar("V")

INTERNAL = "__"
"""How the names of a cluster's own topics begin."""
OF_ONE = (
    "partitions", "config", "retention", "compacting", "deleting", "replicas", "internal",
)  # fmt: skip
"""What only a topic can say that is made by its declaration."""


class TopicPattern(Topic[K, V], Generic[K, V]):
    """The topics whose whole name matches a regular expression; made by `App.topic(pattern=)`.

    Its own name is no topic's: the expression between slashes, which no name has.
    """

    def __init__(self, pattern: re.Pattern[str], **options: Any) -> None:
        super().__init__(f"/{pattern.pattern}/", **options)
        self.pattern: re.Pattern[str] = pattern

    def _checked(self, name: str) -> str:
        return name

    def __repr__(self) -> str:
        return f"Topic(pattern={self.pattern.pattern!r})"

    def matches(self, name: str) -> bool:
        """Whether a name is one of these. A cluster's own topics never are."""
        return not name.startswith(INTERNAL) and self.pattern.fullmatch(name) is not None

    def named(self, name: str) -> Topic[K, V]:
        """The topic of this name, read as the pattern says."""
        found: Topic[K, V] = Topic.__new__(Topic)
        vars(found).update({**vars(self), "name": name, "pattern": None})
        return found

    @property
    def topics(self) -> list[str]:
        """None: it names no topic."""
        return []

    def get_topic_name(self) -> NoReturn:
        """AppError: it has no name."""
        raise AppError(f"{self!r} is any topic that matches: it has no name of its own")

    def derive(self, **changes: Any) -> Topic[Any, Any]:
        """One topic, of the `name` that is given, with these types; or the same pattern with
        others.
        """
        if changes.keys() & {"name", "topics"}:
            return super().derive(**changes)
        if changes.keys() & {"prefix", "suffix"}:
            raise AppError(f"{self!r}: a pattern takes no prefix or suffix: write another pattern")
        said = derived(self.name, self.config, changes)
        kept = {each: getattr(self, each) for each in (*DERIVED[1:], "prepare")}
        return TopicPattern(
            self.pattern, partitions=None, config={}, send=self._send, enter=self._enter,
            timestamp=self.timestamp, disorder_ms=self.disorder_ms, **{**kept, **said},
        )  # fmt: skip

    derive_topic = derive

    async def declare(self) -> None:
        """AppError: nobody could make it."""
        raise AppError(f"{self!r} is read where it matches: a topic is made by its name")

    def send(self, *given: Any, **record: Any) -> NoReturn:
        """AppError: it does not say to which topic."""
        self.refuse_sending()

    def send_soon(self, **record: Any) -> NoReturn:
        """AppError: it does not say to which topic."""
        self.refuse_sending()

    def outgoing(self, *record: Any) -> NoReturn:
        """AppError: it does not say to which topic."""
        self.refuse_sending()

    def refuse_sending(self) -> NoReturn:
        """Nobody can say where a record would go."""
        raise AppError(
            f"{self!r} does not say which topic a record goes to: send to one by its name,"
            " app.topic('NAME', ...), or pattern.derive(name='NAME') for one with the same types"
        )


def refuse_pattern(topic: object, what: str) -> None:
    """AppError for what takes one topic, by its name."""
    if isinstance(topic, TopicPattern):
        raise AppError(
            f"{what} takes one topic, by its name, not {topic!r}: have an agent read that, and send"
            " the events on to one"
        )


def kind_of(
    name: str | None, pattern: object, **said: Any
) -> tuple[str, Callable[..., Topic[Any, Any]]]:
    """How a declared topic is called, and what makes it: by its name, or by a pattern."""
    if pattern is not None:
        expression = compiled(pattern, name, said)
        return f"/{expression.pattern}/", partial(TopicPattern, expression)
    if name is None:
        raise TypeError(
            "App.topic is called without name: write App.topic(name, ...), or"
            " App.topic(pattern=...)"
        )
    return name, partial(Topic, name)


def compiled(pattern: object, name: str | None, said: dict[str, Any]) -> re.Pattern[str]:
    """The regular expression of a declaration. AppError for what is none, and for what else was
    `said` that only one topic can say.
    """
    if name is not None:
        raise AppError(
            f"app.topic({name!r}, pattern={described(pattern)}): a topic has a name, or a pattern"
            " for the names of several: leave one out"
        )
    for option in OF_ONE:
        if said.get(option) not in (None, False):
            raise AppError(
                f"app.topic(pattern=..., {option}=): what matches is read as it is, and made by"
                f" nobody: say {option}= of a topic by its name"
            )
    if isinstance(pattern, str):
        try:
            return re.compile(pattern)
        except re.error as error:
            where = "" if error.pos is None else f" at position {error.pos}"
            raise AppError(
                f"app.topic(pattern={pattern!r}) is no regular expression: {error.msg}{where}"
            ) from None
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern
    raise AppError(
        "app.topic(pattern=) takes a regular expression as a text or a re.Pattern, not"
        f" {described(pattern)}"
    )
