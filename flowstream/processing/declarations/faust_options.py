"""Options of Faust's declarations that say what is always so here, or say it by another name.

Pure: values in, ours out, or an error with what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypedDict

from flowstream.processing.agents.policies import OnError, policy_for
from flowstream.processing.declaring import check_isolated
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.tables.table import Recovered


class FaustTopic(TypedDict, total=False):
    """Of `App.topic`: copies that it is created with (else the app's `replication_factor`); how
    many of these acknowledge, always all; and whether the app makes it, so that somebody has to say
    its partitions.
    """

    replicas: int | None
    acks: bool | int | str
    internal: bool


class FaustAgent(TypedDict, total=False):
    """Of `App.agent`: `on_error` by the name of a supervisor; partitions never share an instance,
    and replies go by headers, always.
    """

    supervisor_strategy: Any
    isolated_partitions: bool
    use_reply_headers: bool


class FaustTable(TypedDict, total=False):
    """Of `App.Table`: several of `on_recover`; all else is always so."""

    recover_callbacks: Iterable[Recovered]
    store: str
    is_global: bool
    changelog_topic: Topic[Any, Any] | str | None
    use_partitioner: bool
    synchronize_all_active_partitions: bool


TOPIC: Final = FaustTopic.__optional_keys__
AGENT: Final = FaustAgent.__optional_keys__
TABLE: Final = FaustTable.__optional_keys__

_TABLE_ALWAYS: Final[Mapping[str, tuple[object, str]]] = {
    "store": ("rocksdb://", "rows are kept in RocksDB"),
    "is_global": (False, "app.GlobalTable declares one that is"),
    "use_partitioner": (False, "rows are of the event's partition"),
    "synchronize_all_active_partitions": (False, "app.GlobalTable has all of them"),
}
"""The one answer to each, and why."""


def topic_replicas(
    name: str, partitions: int | None, settings: Settings, said: FaustTopic
) -> int | None:
    """How many copies a topic is created with, if it says that itself."""
    acks, replicas = said.get("acks", True), said.get("replicas")
    if acks not in (True, -1, "all"):
        raise AppError(
            f"topic {name!r}: acks={acks!r}, but a record is there when all in-sync replicas have"
            " it: leave it out"
        )
    if said.get("internal", False) and partitions is None and settings.topic_partitions is None:
        raise AppError(
            f"topic {name!r} is internal, so that the app makes it: say partitions=N, too, or"
            " App(topic_partitions=N)"
        )
    if replicas is not None and (type(replicas) is not int or replicas < 1):
        raise AppError(f"topic {name!r}: replicas is a whole number from 1 on, not {replicas!r}")
    return replicas


def agent_policy(on_error: OnError | None, settings: Settings, said: FaustAgent) -> OnError:
    """What an agent says of failed events."""
    check_isolated(said.get("isolated_partitions", True))
    if said.get("use_reply_headers", True) is not True:
        raise AppError("App.agent(use_reply_headers=False): replies go by headers, always")
    return policy_for(on_error, said.get("supervisor_strategy"), settings.on_error)


def check_table(name: str, changelog: str, said: FaustTable) -> None:
    """Refuse what is never so of a table."""
    for option, (usual, why) in _TABLE_ALWAYS.items():
        found = said.get(option, usual)
        if found != usual or type(found) is not type(usual):
            raise AppError(f"App.Table({name!r}, {option}={found!r}): {why}; leave {option}= out")
    topic = said.get("changelog_topic")
    wanted = getattr(topic, "name", topic)
    if topic is not None and wanted != changelog:
        raise AppError(
            f"App.Table({name!r}, changelog_topic={wanted!r}): the changelog of this table is"
            f" {changelog!r}, which the app makes; leave changelog_topic= out"
        )


def recovering(on_recover: Recovered | None, said: FaustTable) -> list[Recovered]:
    """All that is to be called when a table's rows are there."""
    return [*said.get("recover_callbacks", ()), *([] if on_recover is None else [on_recover])]
