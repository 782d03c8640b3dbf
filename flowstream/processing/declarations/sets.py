"""The tables of sets that an app declares. A part of `App`; declares only."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypedDict, TypeVar, Unpack, overload

from flowstream.processing.agents.agent import NOT_OURS, Agent
from flowstream.processing.agents.managing import managing
from flowstream.processing.declarations.relating import Relating
from flowstream.processing.declaring import check_default, check_partitions, check_topic_name
from flowstream.processing.environment.settings import Settings
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.instead import telling
from flowstream.processing.tables.global_sets import GlobalMemberRows, SetGlobalTable
from flowstream.processing.tables.set_managers import SetChange
from flowstream.processing.tables.set_tables import MANAGER_SUFFIX, MemberRows, SetTable
from flowstream.processing.values.durations import Seconds

K = TypeVar("K")
V = TypeVar("V")


AnySets = SetTable[Any, Any]


class GlobalSetOptions(TypedDict, total=False):
    """What a table of sets may say that every worker holds; see `App.SetGlobalTable`."""

    partitions: int | None
    help: str
    start_manager: bool
    manager_topic_name: str | None
    manager_topic_suffix: str


class SetOptions(GlobalSetOptions, total=False):
    """What a table of sets of one's own partitions may say, too."""

    ttl: Seconds | None


class DeclaresSets(Relating):
    """`app.SetTable` and `app.SetGlobalTable`."""

    settings: Settings

    @abstractmethod
    def topic_of_changes(self, name: str, key_type: Any, partitions: int) -> Topic[Any, SetChange]:
        """Declare the topic of a table's manager."""

    def _check(self, name: str, partitions: object, default: object = None) -> None:
        """Refuse what cannot be a table where it is written."""
        self.check_table_name(name)
        check_topic_name(self.changelog(name), f"changelog of table {name[:40]!r}")
        check_default(default, f"table {name!r}")
        check_partitions(partitions, f"table {name!r}")

    @overload
    def SetTable(
        self, name: str, *, key_type: type[K], value_type: type[V], **options: Unpack[SetOptions]
    ) -> SetTable[K, V]: ...
    @overload
    def SetTable(
        self, name: str, *, value_type: type[V], **options: Unpack[SetOptions]
    ) -> SetTable[str, V]: ...
    @overload
    def SetTable(
        self, name: str, *, key_type: type[K], **options: Unpack[SetOptions]
    ) -> SetTable[K, str]: ...
    @overload
    def SetTable(self, name: str, **options: Unpack[SetOptions]) -> SetTable[str, str]: ...
    @telling("App.SetTable")
    def SetTable(  # Faust's name
        self,
        name: str,
        *,
        key_type: Any = str,
        value_type: Any = str,
        partitions: int | None = None,
        ttl: Seconds | None = None,
        help: str = "",
        start_manager: bool = False,
        manager_topic_name: str | None = None,
        manager_topic_suffix: str = MANAGER_SUFFIX,
    ) -> SetTable[Any, Any]:
        """Declare a table whose values are sets of `value_type`, one row per member.

        `ttl` ends a member that long after the event time at which it was last added. With
        `start_manager` an agent takes changes from anywhere: `await table.manager.add(key, member)`
        sends one through the topic `<app>-<table>-setmanager`, or that of the given name.
        """
        self._check(name, partitions)
        rows = MemberRows(
            name, key_type=key_type, value_type=value_type, partitions=partitions, ttl=ttl
        )
        rows.help = help
        self._declare(rows)
        table: SetTable[Any, Any] = SetTable(rows)
        self._manage(
            table, key_type, manager_topic_name, manager_topic_suffix, is_wanted=start_manager
        )
        return table

    @overload
    def SetGlobalTable(
        self, name: str, *, key_type: type[K], value_type: type[V],
        **options: Unpack[GlobalSetOptions],
    ) -> SetGlobalTable[K, V]: ...  # fmt: skip
    @overload
    def SetGlobalTable(
        self, name: str, *, value_type: type[V], **options: Unpack[GlobalSetOptions]
    ) -> SetGlobalTable[str, V]: ...
    @overload
    def SetGlobalTable(
        self, name: str, *, key_type: type[K], **options: Unpack[GlobalSetOptions]
    ) -> SetGlobalTable[K, str]: ...
    @overload
    def SetGlobalTable(
        self, name: str, **options: Unpack[GlobalSetOptions]
    ) -> SetGlobalTable[str, str]: ...
    @telling("App.SetGlobalTable")
    def SetGlobalTable(  # Faust's name
        self,
        name: str,
        *,
        key_type: Any = str,
        value_type: Any = str,
        partitions: int | None = None,
        help: str = "",
        start_manager: bool = False,
        manager_topic_name: str | None = None,
        manager_topic_suffix: str = MANAGER_SUFFIX,
    ) -> SetGlobalTable[Any, Any]:
        """Declare a table of sets that every worker holds whole: read any key's, change those of
        keys that belong to the event's partition. The rest is as for `SetTable`.
        """
        self._check(name, partitions)
        rows = GlobalMemberRows(
            name, key_type=key_type, value_type=value_type, partitions=partitions, ttl=None
        )
        rows.help = help
        self._declare(rows)
        table: SetGlobalTable[Any, Any] = SetGlobalTable(rows)
        self._manage(
            table, key_type, manager_topic_name, manager_topic_suffix, is_wanted=start_manager
        )
        return table

    def _manage(
        self, table: AnySets, key_type: Any, topic_name: str | None, suffix: str, *,
        is_wanted: bool,
    ) -> None:  # fmt: skip
        """Have an agent take changes from anywhere."""
        name, partitions = table.name, table.rows.partitions
        if not is_wanted:
            if topic_name is not None or suffix != MANAGER_SUFFIX:
                raise AppError(
                    f"table {name!r} has no manager whose topic could be named: say"
                    " start_manager=True, too"
                )
            return
        if partitions is None:
            partitions = table.rows.partitions = self.settings.topic_partitions
        if partitions is None:
            raise AppError(
                f"table {name!r}: with start_manager=True say partitions=N, too, or"
                " App(topic_partitions=N)"
            )
        named = topic_name or f"{self.id}-{name}{suffix}"
        topic = self.topic_of_changes(named, key_type, partitions)
        table.have_manager(topic)
        table.manager_topic_suffix = suffix
        agent = Agent(managing(table), topic, name=f"{name}.manager", sinks=(), on_error="stop")
        agent.passing_over = NOT_OURS
        self.add_agent(agent)
