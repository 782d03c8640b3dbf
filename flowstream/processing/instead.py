"""What to use instead of Faust's names that stay out, as docs/migrating-from-faust.md says it.

Pure. Asked when a name is missing, or at a declaration; never per event.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

_TOLD: Final = (
    ("faust.ModelOptions", "options of a record are pydantic's"),
    ("faust.SlidingWindow", "`stream.sliding(size)`"),
    ("faust.GSSAPICredentials", "SASL by PLAIN, SCRAM or tokens"),
    ("App.timer(max_drift_correction=)", "always so"),
    ("App.serializers", "`flowstream.codecs`"),
    ("App.commit", "epochs commit by themselves, every `commit_interval` at the least"),
    ("App.stream", "an agent"),
    (
        "App.Table(recovery_buffer_size=) App.Table(standby_buffer_size=) "
        "App.Table(options=)",
        "restores are bounded, by themselves",
    ),
    ("App.channel(schema=)", "values stay as they are: nothing is decoded"),
    ("App.web App.web_server", "`worker.web_address`"),
    ("App.LiveCheck", "tests in memory, or with a real broker"),
    ("App.http_client App.cache", "an HTTP client or a cache of your own"),
    ("App.GlobalTable(window=) App.SetTable(window=)", "windows are of `app.Table`"),
    ("App(web=)", "`web_port`; None: no web server"),
    (
        "App(stream_wait_empty=)",
        "an event that is not finished in time is processed by whoever is next",
    ),
    ("App(producer_partitioner=)", "murmur2, as Java's clients"),
    (
        "App(web_application_options=) App(web_ssl_context=) "
        "App(cache=)",
        "none: see *page*",
    ),
    (
        "Record(polymorphic_fields=)",
        "a union of models with a `Literal` field as its discriminator",
    ),
    ("Agent.actor_tracebacks", "a stall is named in the log, with its line"),
    ("Agent.supervisor_strategy", "`on_error`"),
    ("Stream.join_strategy", "`how=` of the join"),
    ("Stream.add_processor", "`stream.map(function)`"),
    ("Stream.combine Stream.combined", "`@app.agent(topic, *others)`"),
    ("Stream.derive_topic", "`topic.derive(...)`"),
    ("Stream.ack", "an event is done when the agent asks for the next one, always"),
    (
        "Stream.noack Stream.noack_take",
        "an event is done when the agent asks for the next one, and never before",
    ),
    ("Event.ack Event.acked", "an event is done when the agent asks for the next one, always"),
    ("Channel.queue", "`channel.get()`"),
    (
        "Channel.schema Channel.on_key_decode_error Channel.on_value_decode_error "
        "Channel.on_decode_error",
        "nothing is decoded; `on_error` of the agent",
    ),
    ("Worker.maybe_start_blockdetection", "`App(stall_warning=)`"),
    ("Worker(stdout=) Worker(stderr=)", "`contextlib.redirect_stdout`"),
    ("Worker(console_port=)", "nothing is redirected; no console"),
    (
        "Table.left_join Table.inner_join Table.outer_join Table.join Table.combine",
        "`app.join(left, right)`, `stream.join(table)`",
    ),
    ("Table.on_window_close", "`@app.agent(table.closed)`"),
    (
        "Table.on_changelog_event Table.on_key_set Table.on_key_del Table.on_clear",
        "`@app.agent(table.changes)`",
    ),
    ("Table.changelog_topic", "`table.changelog_topic_name`; `app.changelog(table.name)`"),
    ("Table.reset_state", "`flowstream reset`"),
    ("Table.on_key_get", "sensors: `on_table_get`"),
    ("WindowWrapper.key_index_table", "`windowed.items()`"),
    (
        "WindowWrapper.relative_to_now",
        "`now()` reads by the clock; what is written goes by the event's time",
    ),
)  # fmt: skip
"""Names, with spaces between them, and what is here."""

INSTEAD: Final = {name: how for names, how in _TOLD for name in names.split()}


def missing(home: str, name: str, said: str) -> AttributeError:
    """The error for an attribute that is not there, with what to use when Faust has it.

    >>> str(missing("Table", "reset_state", "'Table' object"))
    "'Table' object has no attribute 'reset_state', as Faust has: `flowstream reset`"
    """
    how = INSTEAD.get(f"{home}.{name}")
    told = "" if how is None else f", as Faust has: {how}"
    return AttributeError(f"{said} has no attribute {name!r}{told}")


def telling(home: str, also: Iterable[str] = ()) -> Callable[[F], F]:
    """Has a function that declares tell of an argument that it does not take: what to use instead
    of one of Faust's, or what may have been meant; and of one that it needs. Those that it takes by
    `**` are in `also`.
    """

    def tell(function: F) -> F:
        parameters = list(inspect.signature(function).parameters.values())
        named = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
        known = [name for name in named if name != "self"] + list(also)
        most = _most_by_position(parameters)
        needed = {each.name: place for place, each in enumerate(parameters) if _is_needed(each)}
        said = [n if at < most else f"{n}=..." for n, at in needed.items() if n != "self"]
        usage = f"{home}({', '.join([*said, '...'])})"

        @functools.wraps(function)
        def declare(*given: Any, **options: Any) -> Any:
            for name in sorted(options.keys() - set(known)):
                raise TypeError(not_taken(home, name, known))
            if len(given) > most:
                what = ", ".join(named[1:most]) or "nothing"
                raise TypeError(f"{home} takes {what} by position, and what else there is by name")
            lacks = [n for n, at in needed.items() if at >= len(given) and n not in options]
            if lacks:
                raise TypeError(f"{home} is called without {' and '.join(lacks)}: write {usage}")
            return function(*given, **options)

        vars(declare)["also"] = tuple(also)
        return cast("F", declare)

    return tell


def _is_needed(parameter: inspect.Parameter) -> bool:
    """Whether an argument has to be given."""
    is_one = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    return is_one and parameter.default is parameter.empty


def _most_by_position(parameters: Iterable[inspect.Parameter]) -> int:
    """How many arguments may stand without their names."""
    kinds = [each.kind for each in parameters]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return sys.maxsize
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)


def not_taken(home: str, name: str, known: Iterable[str]) -> str:
    """What to say of an argument that is none.

    >>> not_taken("App.Table", "defualt", ["name", "default"])
    'App.Table(defualt=) is not taken: is it default=?'
    """
    how = INSTEAD.get(f"{home}({name}=)")
    if how is not None:
        return f"{home}({name}=) is not taken, as Faust does: {how}"
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"is it {close[0]}=?" if close else f"there are {', '.join(known)}"
    return f"{home}({name}=) is not taken: {meant}"
