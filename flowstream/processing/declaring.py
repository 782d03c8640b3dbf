"""What a declaration may say: names, numbers and functions, refused where they are written.

Pure. Every refusal names what is wrong and what to write instead; knows no topic, table or agent.
"""

from __future__ import annotations

import datetime
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar, cast

from flowstream.processing.errors import AppError

Span = float | datetime.timedelta
Order = Literal["key"]

F = TypeVar("F", bound=Callable[..., Any])

POLICY, COMPACT = "cleanup.policy", "compact"
RETENTION = "retention.ms"

LONGEST_TOPIC = 249
_LEGAL_TOPIC = re.compile(r"[A-Za-z0-9._-]+")


def check_topic_name(name: object, what: str) -> str:
    """A name that Kafka takes for a topic; `what` says whose it is."""
    if not isinstance(name, str):
        raise AppError(f"{what}: its name must be a text, not {described(name)}")
    if len(name) > LONGEST_TOPIC:
        raise AppError(
            f"{what}: the topic's name {name[:40]}... has {len(name)} characters, at most"
            f" {LONGEST_TOPIC} are allowed"
        )
    if not _LEGAL_TOPIC.fullmatch(name) or name in (".", ".."):
        raise AppError(
            f"{what}: {name!r} cannot be a topic's name; use letters, digits, '.', '_' and '-'"
        )
    return name


def check_table_name(name: object) -> str:
    """A table's name, which becomes part of a topic's and a directory's."""
    if not isinstance(name, str):
        raise AppError(f"a table's name must be a text, not {described(name)}")
    if not _LEGAL_TOPIC.fullmatch(name) or name in (".", ".."):
        raise AppError(
            f"table name {name!r} is not usable: its changelog topic and its directory are named"
            " after it; use letters, digits, '.', '_' and '-'"
        )
    return name


def check_row_name(name: str, what: str) -> None:
    """A name that becomes that of a row, among which are some of our own."""
    if name.startswith("@"):
        raise AppError(
            f"{what} has a name that begins with '@', as rows do that keep the time of a table:"
            " pass another name="
        )


def check_partitions(partitions: object, what: str) -> None:
    """A number of partitions, or None for the default."""
    if partitions is None:
        return
    if type(partitions) is not int or partitions < 1:
        raise AppError(
            f"{what}: partitions must be a whole number from 1 on, not {described(partitions)}"
        )


def check_config(config: object, what: str) -> dict[str, str]:
    """A topic's configuration, by Kafka's names, all texts."""
    if not isinstance(config, Mapping):
        raise AppError(
            f"{what}: config must be a dict like {{'retention.ms': '60000'}}, not"
            f" {described(config)}"
        )
    for key, value in config.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise AppError(
                f"{what}: names and values of config are texts: write {str(key)!r}: {str(value)!r}"
            )
    return dict(config)


def check_changelog_config(config: Mapping[str, str] | None, what: str) -> dict[str, str]:
    """A changelog's configuration beside our own: it is compacted, and keeps the last of each key,
    or rows would be gone where a table is restored.
    """
    own = check_config({} if config is None else config, what)
    policy = own.get(POLICY, COMPACT)
    if policy.strip() != COMPACT:
        raise AppError(
            f"{what}: extra_topic_configs say {POLICY}={policy!r} of its changelog, which is what"
            f" the table is restored from: rows older than the retention would be lost. Leave it"
            " out; ttl= ends rows of a table, and expires= those of windows"
        )
    return own


def check_default(default: object, what: str) -> None:
    """A table's default: a callable that makes a value."""
    if default is None or callable(default):
        return
    kind = type(default).__name__
    makes = f"default={kind}" if not default else f"default=lambda: {default!r:.40}"
    raise AppError(
        f"{what}: default is called for every missing key and must be a function or a type, not"
        f" {described(default)}: write {makes}"
    )


def check_callable(function: object, what: str) -> None:
    """Something that is called later on."""
    if not callable(function):
        raise AppError(f"{what} is a function, not {described(function)}")


def check_agent_function(function: Callable[..., Any], name: str) -> None:
    """An agent's function: `async def`, callable with the stream alone."""
    if not isinstance(name, str):
        raise AppError(f"@app.agent: the name must be a text, not {described(name)}")
    if not (inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function)):
        raise AppError(f"agent {name!r} must be an `async def` function that takes a stream")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise AppError(
            f"agent {name!r} is called with its stream and nothing else ({error}): write"
            f" `async def {name}(stream):`"
        ) from None


def check_isolated(isolated: object) -> None:
    """Faust's `isolated_partitions` of an agent, which is always so."""
    if isolated is not True:
        raise AppError(
            "isolated_partitions cannot be turned off: each partition has its own instances, so"
            " that it can move to another worker alone. Leave it out"
        )


def check_forced(force: object) -> None:
    """Faust's `force` of requests, which is always so."""
    if force is not True:
        raise AppError(
            "a request is sent at once, or its reply could not come before the event is over:"
            " force=False cannot be; leave it out"
        )


def check_key_index(key_index: object) -> None:
    """Faust's `key_index` of windows, which is always so."""
    if key_index is not True:
        raise AppError(
            "key_index cannot be turned off: which windows there are is known by their rows."
            " Leave it out"
        )


def check_window_closed(function: object, what: str) -> None:
    """A function that is told of windows that close: called with a key and a value."""
    check_callable(function, f"{what}: on_window_close")
    if inspect.isasyncgenfunction(function):
        raise AppError(
            f"{what}: what on_window_close yields would go nowhere: have it send, or write an agent"
            " instead, @app.agent(table.closed, sink=[...])"
        )
    try:
        inspect.signature(cast("Callable[..., Any]", function)).bind(None, None)
    except TypeError as error:
        raise AppError(
            f"{what}: on_window_close is called with a key and its window, and a value ({error}):"
            " write `def window_closed(key, value):`"
        ) from None


def check_concurrency(concurrency: object, order: object, agent: str) -> tuple[int, Order | None]:
    """How many instances a partition has, and what order they keep."""
    if type(concurrency) is not int or concurrency < 1:
        raise AppError(
            f"agent {agent!r}: concurrency must be a whole number from 1 on, not"
            f" {described(concurrency)}"
        )
    if order not in (None, "key"):
        raise AppError(
            f"agent {agent!r}: order is 'key', or None for any order among the {concurrency}"
            f" instances of a partition, not {described(order)}"
        )
    return concurrency, "key" if order == "key" else None


def check_store(function: F, name: str) -> F:
    """An outbox's function: a plain one, callable with the connection and the events."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise AppError(
            f"outbox {name!r} must be a plain `def`: it runs in a thread with the driver's own"
            " connection, where it may wait"
        )
    try:
        inspect.signature(function).bind(None, None)
    except TypeError as error:
        raise AppError(
            f"outbox {name!r} is called with a connection and a list of events ({error}): write"
            f" `def {name}(db, events):`"
        ) from None
    return function


def check_batch(most: object) -> None:
    """How many events a transaction of an outbox has at most."""
    if type(most) is not int or most < 1:
        raise AppError(
            "@app.outbox: batch is how many events a transaction has at most, a whole number from 1"
            f" on, not {described(most)}"
        )


def check_take(most: object, within: Span | None) -> Span:
    """The arguments of `Stream.take`; gives `within`."""
    if type(most) is not int or most < 1:
        raise AppError(f"take needs a maximum of at least 1, not {described(most)}")
    if within is None:
        raise AppError(
            f"take({most}) would wait for its last value for ever, and commit nothing until then:"
            f" say how long, e.g. take({most}, within=1.0)"
        )
    return within


def check_called(given: object, needs: str, written: str) -> None:
    """Refuse a decorator that stands without its arguments: it is given the function instead."""
    if inspect.isfunction(given) or inspect.isclass(given):
        bare, _, _ = written.partition("(")
        raise AppError(f"`{bare}` needs {needs}: write `{written}`")


def described(value: object) -> str:
    """A value and its type, for messages.

    >>> described("5")
    "'5' (a str)"
    """
    kind = type(value).__name__
    return f"{value!r:.60} ({'an' if kind[0] in 'aeiou' else 'a'} {kind})"
