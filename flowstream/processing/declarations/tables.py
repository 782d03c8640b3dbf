"""The tables that an app declares. A part of `App`; declares only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack, overload

from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.managing import WindowClosed, telling_closed
from flowstream.processing.declarations.faust_options import (
    TABLE,
    FaustTable,
    check_table,
    recovering,
)
from flowstream.processing.declarations.sets import DeclaresSets
from flowstream.processing.declaring import (
    check_callable,
    check_default,
    check_key_index,
    check_partitions,
    check_table_name,
    check_window_closed,
)
from flowstream.processing.environment.settings import check_app_id
from flowstream.processing.errors import AppError
from flowstream.processing.events.event import Event
from flowstream.processing.events.schemas import Schema, schema_of
from flowstream.processing.instead import telling
from flowstream.processing.tables.replicated import GlobalTable, TableOf
from flowstream.processing.tables.table import Recovered, Table
from flowstream.processing.tables.windowed_tables import WindowedTable
from flowstream.processing.time.shapes import Window
from flowstream.processing.values.durations import Seconds
from flowstream.processing.values.undeclared import kind_of_values

K = TypeVar("K")
V = TypeVar("V")


class GlobalOptions(TypedDict, total=False):
    """What a table may say beside its types; see `App.Table`."""

    partitions: int | None
    ordered: bool
    help: str


class TableOptions(GlobalOptions, FaustTable, total=False):
    """What a table of one's own partitions may say, too."""

    ttl: Seconds | None
    schema: Schema | None
    on_recover: Recovered | None
    on_changelog_event: Callable[[Event[Any]], Any] | None
    extra_topic_configs: Mapping[str, str] | None
    on_window_close: WindowClosed | None


class DeclaresTables(DeclaresSets):
    """`app.Table` and the other kinds of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign_tables: dict[str, TableOf[Any, Any]] = {}

    @overload
    def Table(
        self, name: str, *, window: Window, key_type: type[K], value_type: type[V],
        default: Callable[[], V] | None = ..., key_index: bool = ...,
        **options: Unpack[TableOptions],
    ) -> WindowedTable[K, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, window: Window, value_type: type[V],
        default: Callable[[], V] | None = ..., key_index: bool = ...,
        **options: Unpack[TableOptions],
    ) -> WindowedTable[str, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, window: Window, default: Callable[[], V], key_index: bool = ...,
        **options: Unpack[TableOptions],
    ) -> WindowedTable[str, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, key_type: type[K], value_type: type[V],
        default: Callable[[], V] | None = ..., migrate: Callable[[Any], V] | None = ...,
        **options: Unpack[TableOptions],
    ) -> Table[K, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, value_type: type[V], default: Callable[[], V] | None = ...,
        migrate: Callable[[Any], V] | None = ..., **options: Unpack[TableOptions],
    ) -> Table[str, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, key_type: type[K], default: Callable[[], V],
        migrate: Callable[[Any], V] | None = ..., **options: Unpack[TableOptions],
    ) -> Table[K, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, default: Callable[[], V], migrate: Callable[[Any], V] | None = ...,
        **options: Unpack[TableOptions],
    ) -> Table[str, V]: ...  # fmt: skip
    @overload
    def Table(self, name: str, **options: Unpack[TableOptions]) -> Table[str, Any]: ...
    @telling("App.Table", also=TABLE)
    def Table(  # Faust's name
        self,
        name: str,
        *,
        key_type: Any = None,
        value_type: Any = None,
        default: Callable[[], Any] | None = None,
        partitions: int | None = None,
        ordered: bool = False,
        ttl: Seconds | None = None,
        migrate: Callable[[Any], Any] | None = None,
        help: str = "",
        schema: Schema | None = None,
        on_recover: Recovered | None = None,
        on_changelog_event: Callable[[Event[Any]], Any] | None = None,
        extra_topic_configs: Mapping[str, str] | None = None,
        on_window_close: WindowClosed | None = None,
        window: Window | None = None,
        key_index: bool = True,
        **as_faust: Unpack[FaustTable],
    ) -> Table[Any, Any] | WindowedTable[Any, Any]:
        """Declare a table. `value_type` defaults to `default` when that is a type (`int` stands for
        numbers, whole or not: `value_type=int` for whole ones alone), else to any JSON.

        `partitions` is that of the topics whose agents use the table; give it only when the app
        reads topics with different numbers of partitions. `ordered` writes rows in the order of
        their keys, for `range` and `prefix` (keys of str and bytes always are). `ttl` ends a row
        that long after the event time of its last write. `migrate` makes a value of a row that
        an older value type wrote: of a dict where the row is a JSON object, else of its bytes.

        `help` is shown by `flowstream tables list`. A `schema` says the types (rows have no other
        serializer). `on_recover`: see `Table.on_recover`. `on_changelog_event` gets an `Event` of
        each record that a store takes over from the changelog: of a restore, or while a standby
        is kept current. `extra_topic_configs` are of the changelog topic, when it is made.
        `on_window_close` is called with `(key, (start, end))` and the final value of each window
        that closes, once, in a unit of its own: see `tumbling`. With a `window` it gives what
        `table.using_window(window)` does.
        """
        check_key_index(key_index)
        self._check(name, partitions, default)
        check_table(name, self.changelog(name), as_faust)
        said = rows_of(name, schema)
        value_type = value_type or said.value_type
        table: Table[Any, Any] = Table(
            name,
            key_type=key_type or said.key_type or str,
            value_type=kind_of_values(value_type, default),
            default=default, partitions=partitions, ordered=ordered, ttl=ttl, migrate=migrate,
            help=help, extra_topic_configs=extra_topic_configs,
        )  # fmt: skip
        for each in recovering(on_recover, as_faust):
            table.on_recover(each)
        if on_changelog_event is not None:
            check_callable(on_changelog_event, f"table {name!r}: on_changelog_event")
            table.changelog_told = on_changelog_event
        if on_window_close is not None:
            check_window_closed(on_window_close, f"table {name!r}")
            table.when_windowed = partial(self._tell_closed, on_window_close)
        self._declare(table)
        return table if window is None else table.using_window(window)

    def _tell_closed(self, function: WindowClosed, windows: WindowedTable[Any, Any]) -> None:
        """Have an agent call a function with each window that closes."""
        named = f"{windows.name}.on_window_close"
        self.add_agent(
            Agent(telling_closed(function), windows.closed, name=named, sinks=(), on_error="stop")
        )

    @overload
    def GlobalTable(
        self, name: str, *, key_type: type[K], value_type: type[V],
        default: Callable[[], V] | None = ..., migrate: Callable[[Any], V] | None = ...,
        **options: Unpack[GlobalOptions],
    ) -> GlobalTable[K, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, value_type: type[V], default: Callable[[], V] | None = ...,
        migrate: Callable[[Any], V] | None = ..., **options: Unpack[GlobalOptions],
    ) -> GlobalTable[str, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, key_type: type[K], default: Callable[[], V],
        migrate: Callable[[Any], V] | None = ..., **options: Unpack[GlobalOptions],
    ) -> GlobalTable[K, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, default: Callable[[], V], migrate: Callable[[Any], V] | None = ...,
        **options: Unpack[GlobalOptions],
    ) -> GlobalTable[str, V]: ...  # fmt: skip
    @overload
    def GlobalTable(self, name: str, **options: Unpack[GlobalOptions]) -> GlobalTable[str, Any]: ...
    @telling("App.GlobalTable")
    def GlobalTable(  # Faust's name
        self,
        name: str,
        *,
        key_type: Any = str,
        value_type: Any = None,
        default: Callable[[], Any] | None = None,
        partitions: int | None = None,
        ordered: bool = False,
        migrate: Callable[[Any], Any] | None = None,
        help: str = "",
        synchronize_all_active_partitions: bool = True,
    ) -> GlobalTable[Any, Any]:
        """Declare a table that every worker holds whole: read any key, write keys that belong to
        the event's partition. The rest is as for `Table`.
        """
        self._check(name, partitions, default)
        if synchronize_all_active_partitions is not True:
            raise AppError(f"App.GlobalTable({name!r}): every worker follows all partitions")
        table: GlobalTable[Any, Any] = GlobalTable(
            name,
            key_type=key_type,
            value_type=kind_of_values(value_type, default),
            default=default,
            partitions=partitions,
            ordered=ordered,
            migrate=migrate,
        )
        table.help = help
        self._declare(table)
        return table

    @telling("App.table_of")
    def table_of(
        self,
        app: str,
        name: str,
        *,
        key_type: type[K],
        value_type: type[V],
        default: Callable[[], V] | None = None,
        partitions: int | None = None,
        ordered: bool = False,
        migrate: Callable[[Any], V] | None = None,
    ) -> TableOf[K, V]:
        """Read a table of another app, with the types (and `ordered`) it is declared with there.

        With `partitions`, that of its changelog and of the topics read here, an agent sees the
        partition of its event; without, every worker holds the whole table.
        """
        check_app_id(app)
        check_table_name(name)
        check_default(default, f"table {name!r} of app {app!r}")
        check_partitions(partitions, f"table {name!r} of app {app!r}")
        table = TableOf(
            app, name, key_type=key_type, value_type=value_type, default=default,
            partitions=partitions, ordered=ordered, migrate=migrate,
        )  # fmt: skip
        if table.rows.name in self.foreign_tables:
            raise AppError(f"table {name!r} of app {app!r} is declared twice")
        self.foreign_tables[table.rows.name] = table
        return table


def rows_of(name: str, schema: Schema | None) -> Schema:
    """The types that a schema says of a table's rows."""
    said = schema_of(schema, f"table {name!r}")
    if said.key_serializer is not None or said.value_serializer is not None:
        raise AppError(f"table {name!r}: rows are written as their types say, by no serializer")
    return said
