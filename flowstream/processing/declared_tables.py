"""The tables that an app declares. A part of `App`; declares only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, overload

from flowstream.processing.declaring import (
    check_default,
    check_partitions,
    check_table_name,
    check_topic_name,
)
from flowstream.processing.errors import AppError
from flowstream.processing.relating import Relating
from flowstream.processing.replicated import GlobalTable, TableOf
from flowstream.processing.set_tables import MemberRows, SetTable
from flowstream.processing.settings import check_app_id
from flowstream.processing.tables import Table
from flowstream.processing.windowed_tables import Seconds

K = TypeVar("K")
V = TypeVar("V")


class DeclaresTables(Relating):
    """`app.Table` and the other kinds of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign_tables: dict[str, TableOf[Any, Any]] = {}

    @abstractmethod
    def changelog(self, table: str) -> str:
        """The name of a table's changelog topic."""

    def _check(self, name: str, partitions: object, default: object = None) -> None:
        """Refuse what cannot be a table where it is written."""
        self.check_table_name(name)
        check_topic_name(self.changelog(name), f"changelog of table {name[:40]!r}")
        check_default(default, f"table {name!r}")
        check_partitions(partitions, f"table {name!r}")

    @overload
    def Table(
        self, name: str, *, key_type: type[K], value_type: type[V],
        default: Callable[[], V] | None = ..., partitions: int | None = ..., ordered: bool = ...,
        ttl: Seconds | None = ..., migrate: Callable[[Any], V] | None = ...,
    ) -> Table[K, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, value_type: type[V], default: Callable[[], V] | None = ...,
        partitions: int | None = ..., ordered: bool = ..., ttl: Seconds | None = ...,
        migrate: Callable[[Any], V] | None = ...,
    ) -> Table[str, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, key_type: type[K], default: Callable[[], V],
        partitions: int | None = ..., ordered: bool = ..., ttl: Seconds | None = ...,
        migrate: Callable[[Any], V] | None = ...,
    ) -> Table[K, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, default: Callable[[], V], partitions: int | None = ...,
        ordered: bool = ..., ttl: Seconds | None = ..., migrate: Callable[[Any], V] | None = ...,
    ) -> Table[str, V]: ...  # fmt: skip
    @overload
    def Table(
        self, name: str, *, partitions: int | None = ..., ordered: bool = ...,
        ttl: Seconds | None = ...,
    ) -> Table[str, Any]: ...  # fmt: skip
    def Table(  # Faust's name
        self,
        name: str,
        *,
        key_type: Any = str,
        value_type: Any = None,
        default: Callable[[], Any] | None = None,
        partitions: int | None = None,
        ordered: bool = False,
        ttl: Seconds | None = None,
        migrate: Callable[[Any], Any] | None = None,
    ) -> Table[Any, Any]:
        """Declare a table. `value_type` defaults to `default` when that is a type, else any JSON.

        `partitions` is that of the topics whose agents use the table; give it only when the app
        reads topics with different numbers of partitions. `ordered` writes rows in the order of
        their keys, for `range` and `prefix` (keys of str and bytes always are). `ttl` ends a row
        that long after the event time of its last write. `migrate` makes a value of a row that
        an older value type wrote: of a dict where the row is a JSON object, else of its bytes.
        """
        self._check(name, partitions, default)
        table: Table[Any, Any] = Table(
            name,
            key_type=key_type,
            value_type=_value_type(value_type, default),
            default=default,
            partitions=partitions,
            ordered=ordered,
            ttl=ttl,
            migrate=migrate,
        )
        self._declare(table)
        return table

    @overload
    def SetTable(
        self, name: str, *, key_type: type[K], value_type: type[V], partitions: int | None = ...,
        ttl: Seconds | None = ...,
    ) -> SetTable[K, V]: ...  # fmt: skip
    @overload
    def SetTable(
        self, name: str, *, value_type: type[V], partitions: int | None = ...,
        ttl: Seconds | None = ...,
    ) -> SetTable[str, V]: ...  # fmt: skip
    @overload
    def SetTable(
        self,
        name: str,
        *,
        key_type: type[K],
        partitions: int | None = ...,
        ttl: Seconds | None = ...,
    ) -> SetTable[K, str]: ...
    @overload
    def SetTable(
        self, name: str, *, partitions: int | None = ..., ttl: Seconds | None = ...
    ) -> SetTable[str, str]: ...
    def SetTable(  # Faust's name
        self,
        name: str,
        *,
        key_type: Any = str,
        value_type: Any = str,
        partitions: int | None = None,
        ttl: Seconds | None = None,
    ) -> SetTable[Any, Any]:
        """Declare a table whose values are sets of `value_type`, one row per member.

        `ttl` ends a member that long after the event time at which it was last added.
        """
        self._check(name, partitions)
        rows = MemberRows(
            name, key_type=key_type, value_type=value_type, partitions=partitions, ttl=ttl
        )
        self._declare(rows)
        return SetTable(rows)

    @overload
    def GlobalTable(
        self, name: str, *, key_type: type[K], value_type: type[V],
        default: Callable[[], V] | None = ..., partitions: int | None = ..., ordered: bool = ...,
        migrate: Callable[[Any], V] | None = ...,
    ) -> GlobalTable[K, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, value_type: type[V], default: Callable[[], V] | None = ...,
        partitions: int | None = ..., ordered: bool = ..., migrate: Callable[[Any], V] | None = ...,
    ) -> GlobalTable[str, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, key_type: type[K], default: Callable[[], V],
        partitions: int | None = ..., ordered: bool = ..., migrate: Callable[[Any], V] | None = ...,
    ) -> GlobalTable[K, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, default: Callable[[], V], partitions: int | None = ...,
        ordered: bool = ..., migrate: Callable[[Any], V] | None = ...,
    ) -> GlobalTable[str, V]: ...  # fmt: skip
    @overload
    def GlobalTable(
        self, name: str, *, partitions: int | None = ..., ordered: bool = ...
    ) -> GlobalTable[str, Any]: ...
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
    ) -> GlobalTable[Any, Any]:
        """Declare a table that every worker holds whole: read any key, write keys that belong to
        the event's partition. The rest is as for `Table`.
        """
        self._check(name, partitions, default)
        table: GlobalTable[Any, Any] = GlobalTable(
            name,
            key_type=key_type,
            value_type=_value_type(value_type, default),
            default=default,
            partitions=partitions,
            ordered=ordered,
            migrate=migrate,
        )
        self._declare(table)
        return table

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


def _value_type(value_type: Any, default: Callable[[], Any] | None) -> Any:
    if value_type is not None:
        return value_type
    return default if isinstance(default, type) else Any
