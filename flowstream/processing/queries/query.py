"""`app.query(table)`: a table's committed rows, from any process of the app.

Shell over a router. Knows keys, values and where a key lives; not who owns it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar, cast

import msgspec

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError, TableUnavailable
from flowstream.processing.events.topic import RecordMetadata
from flowstream.processing.queries.asked import PAGE_ROWS, Changed, Found, Place, Question
from flowstream.processing.queries.router import PAUSE_S, Router
from flowstream.processing.tables.replicated import GlobalTable, TableOf
from flowstream.processing.tables.set_tables import MemberRows
from flowstream.processing.tables.showing import KeyRows, Shown, rows_of, shown
from flowstream.processing.tables.table import Table
from flowstream.processing.units.task import TaskId
from flowstream.wire.hashing import partition_for_key

K = TypeVar("K")
V = TypeVar("V")

After = RecordMetadata | Iterable[RecordMetadata] | None
TIMEOUT_S = 5.0
RANGE_ROWS = 1_000


def check_waiting(timeout: object, max_staleness: object) -> None:
    """Refuse what is no time to wait, or no age of an answer."""
    for name, seconds in (("timeout", timeout), ("max_staleness", max_staleness)):
        if seconds is None and name == "max_staleness":
            continue
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if not is_number or not cast("float", seconds) >= 0:
            raise AppError(f"{name}= is seconds, 0 or more, not {described(seconds)}")


def queried(app_id: str, tables: Mapping[str, Table[Any, Any]], table: Any) -> Table[Any, Any]:
    """The rows of an app's table of any kind, or of that name."""
    if isinstance(table, TableOf):
        raise AppError(f"{table!r} is another app's: query it with that app")
    name = table if isinstance(table, str) else getattr(table, "name", None)
    found = tables.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(sorted(tables)) or "none"
        raise AppError(f"app {app_id!r} has no table {table!r}, only {known}")
    return found


class Query(Generic[K, V]):
    """Reads one table from outside of its agents, by asking the workers that own it.

    `after` is what a `send` returned (or several): the answer then holds what those records led to,
    in the agents that read their topic and those one `group_by`, `through` or sink behind them.
    `max_staleness` (seconds) refuses an answer while older input of the table's own task is not in
    it. `timeout` (seconds) bounds the waiting, for both and for a partition that moves.

    The value of a key is that of the table; of a set table the set, of a windowed table a dict of
    the windows' values by their start in seconds.
    """

    def __init__(self, table: Table[Any, Any], changelog: str, router: Router) -> None:
        self._table = table
        self._changelog = changelog
        self._router = router
        self._is_global = isinstance(table, GlobalTable)

    def __repr__(self) -> str:
        return f"Query({self._table.name!r})"

    async def get(
        self,
        key: K,
        *,
        after: After = None,
        max_staleness: float | None = None,
        timeout: float = TIMEOUT_S,
    ) -> V | None:
        """The committed value of a key, None without one. The table's default is not used."""
        check_waiting(timeout, max_staleness)
        id, mine = await self._place(key, timeout)
        question = self._question(id, mine.start, mine.stop, after, max_staleness, timeout)
        rows, now_ms = [], -1
        async for page in self._pages(id, question):
            rows += page.rows
            now_ms = page.now_ms
        return cast("V | None", self._value(mine, rows, now_ms))

    async def range(
        self,
        start: K | None = None,
        stop: K | None = None,
        *,
        prefix: Any = None,
        reverse: bool = False,
        limit: int = RANGE_ROWS,
        after: After = None,
        max_staleness: float | None = None,
        timeout: float = TIMEOUT_S,
    ) -> list[tuple[K, V]]:
        """(key, value) with start <= key < stop, or of keys that begin with `prefix`, of all
        partitions in key order; the first `limit` of them.
        """
        if type(limit) is not int or limit < 1:
            raise AppError(f"limit is a whole number from 1 on, not {described(limit)}")
        check_waiting(timeout, max_staleness)
        low, high = self._bounds(start, stop, prefix)
        count = await self._router.partitions(self._changelog, self._table.name, timeout)
        found = await asyncio.gather(
            *(
                self._rows(TaskId(count, number), low, high, limit, after, max_staleness, timeout,
                           reverse=reverse)
                for number in range(count)
            )
        )  # fmt: skip
        rows = sorted((row for part in found for row in part), key=_by_row, reverse=reverse)
        return [(each.key, each.value) for _, each in rows[:limit]]

    async def scan(
        self,
        *,
        after: After = None,
        max_staleness: float | None = None,
        timeout: float = TIMEOUT_S,
    ) -> AsyncGenerator[tuple[K, V], None]:
        """(key, value) of every row, partition by partition; memory for one page at a time.

        Each page is as committed when it is read. Of a windowed table, a key comes once per window,
        as (key, start in seconds); of a set table once, with its set.
        """
        check_waiting(timeout, max_staleness)
        count = await self._router.partitions(self._changelog, self._table.name, timeout)
        for number in range(count):
            id = TaskId(count, number)
            question = self._question(id, b"", None, after, max_staleness, timeout)
            async with aclosing(self._entries(id, question)) as entries:
                async for key, value in entries:
                    yield cast("K", key), cast("V", value)

    async def watch(self, key: K, *, timeout: float = TIMEOUT_S) -> AsyncGenerator[V | None, None]:
        """The committed value of a key now, and again whenever a commit has changed it; None when
        it is not there. Values between two that you take are left out, and so may be those of the
        moment in which the partition moves. Ends when you leave it.
        """
        check_waiting(timeout, None)
        id, mine = await self._place(key, timeout)
        question = self._question(id, mine.start, mine.stop, None, None, timeout)
        last: Any = _NEVER
        while True:
            rows: dict[bytes, bytes] = {}
            answers = self._router.watch(id, question)
            now_ms = -1
            async with aclosing(answers):
                async for answer in answers:
                    now_ms = _apply(rows, answer, now_ms)
                    value = self._value(mine, sorted(rows.items()), now_ms)
                    if value != last:
                        last = value
                        yield value
            await asyncio.sleep(PAUSE_S)

    # -- rows -----------------------------------------------------------------------------------

    async def _place(self, key: K, timeout: float) -> tuple[TaskId, KeyRows]:
        try:
            placed = self._table.key_codec.encode(key)
            mine = rows_of(self._table, key)
        except (TypeError, ValueError) as error:
            raise self._table.unusable(key, error) from None
        count = await self._router.partitions(self._changelog, self._table.name, timeout)
        return TaskId(count, partition_for_key(placed, count)), mine

    def _bounds(self, start: Any, stop: Any, prefix: Any) -> tuple[bytes, bytes | None]:
        table = self._table
        begin = table.row_keys.begin
        if table.window is not None or isinstance(table, MemberRows):
            raise AppError(
                f"table {table.name!r} has several rows per key, and no ranges: get a key (over"
                f" HTTP GET /tables/{table.name}/KEY), or scan all (`flowstream tables scan`)"
            )
        if begin is None:
            raise AppError(
                f"the rows of table {table.name!r} are not in the order of its keys: declare it"
                " with ordered=True, or use scan"
            )
        if prefix is not None:
            if start is not None or stop is not None:
                raise AppError("prefix goes without start and stop")
            low = begin(prefix)
            return low, table.row_keys.stop(low)
        return b"" if start is None else begin(start), None if stop is None else begin(stop)

    def _question(
        self,
        id: TaskId,
        start: bytes,
        stop: bytes | None,
        after: After,
        max_staleness: float | None,
        timeout: float,
        most: int = PAGE_ROWS,
        *,
        reverse: bool = False,
    ) -> Question:
        return Question(
            table=self._table.name, partition=id.number, start=start, stop=stop, reverse=reverse,
            most=most, after=places(after), stale_s=max_staleness, timeout_s=timeout,
            copy=self._is_global or max_staleness is not None,
        )  # fmt: skip

    async def _pages(self, id: TaskId, question: Question) -> AsyncGenerator[Found, None]:
        while True:
            found = await self._router.ask(id, question, is_global=self._is_global)
            yield found
            if found.is_all:
                return
            last = found.rows[-1][0]
            question = msgspec.structs.replace(
                question,
                start=question.start if question.reverse else last + b"\0",
                stop=last if question.reverse else question.stop,
            )

    async def _rows(
        self,
        id: TaskId,
        low: bytes,
        high: bytes | None,
        limit: int,
        after: After,
        max_staleness: float | None,
        timeout: float,
        *,
        reverse: bool,
    ) -> list[tuple[bytes, Shown]]:
        most = min(limit, PAGE_ROWS)
        question = self._question(
            id, low, high, after, max_staleness, timeout, most, reverse=reverse
        )
        found: list[tuple[bytes, Shown]] = []
        async with aclosing(self._pages(id, question)) as pages:
            async for page in pages:
                found += self._shown(page.rows, page.now_ms)
                if len(found) >= limit:
                    break
        return found

    async def _entries(
        self, id: TaskId, question: Question
    ) -> AsyncGenerator[tuple[Any, Any], None]:
        is_set, key, members = isinstance(self._table, MemberRows), _NEVER, set[Any]()
        async with aclosing(self._pages(id, question)) as pages:
            async for page in pages:
                for _, each in self._shown(page.rows, page.now_ms):
                    if not is_set:
                        yield (each.key if each.window is None else (each.key, each.window / 1000),
                               each.value)  # fmt: skip
                        continue
                    if key is not _NEVER and each.key != key:
                        yield key, members
                        members = set()
                    key = each.key
                    members.add(each.value)
        if key is not _NEVER:
            yield key, members

    def _shown(self, rows: Iterable[tuple[bytes, bytes]], now_ms: int) -> list[tuple[bytes, Shown]]:
        found = ((row, shown(self._table, row, data, now_ms)) for row, data in rows)
        return [(row, each) for row, each in found if each is not None]

    def _value(self, mine: KeyRows, rows: Sequence[tuple[bytes, bytes]], now_ms: int) -> Any:
        found = [each for row, each in self._shown(rows, now_ms) if mine.holds(row)]
        if self._table.window is not None:
            return {(each.window or 0) / 1000: each.value for each in found} or None
        if isinstance(self._table, MemberRows):
            return {each.value for each in found} or None
        return found[0].value if found else None


_NEVER: Any = object()


def _by_row(row: tuple[bytes, Shown]) -> bytes:
    return row[0]


def _apply(rows: dict[bytes, bytes], answer: Found | Changed, now_ms: int) -> int:
    """Bring rows up to date; gives the event time that they have now."""
    if isinstance(answer, Found):
        if not answer.is_all:
            raise TableUnavailable("too many rows to watch")
        rows.update(answer.rows)
        return answer.now_ms
    for row, data in answer.rows:
        if data is None:
            rows.pop(row, None)
        else:
            rows[row] = data
    return now_ms


def places(after: After) -> tuple[Place, ...]:
    """Where the records lie that an answer must hold."""
    if after is None:
        return ()
    given: Any = [after] if isinstance(after, RecordMetadata) else after
    records = list(given) if isinstance(given, Iterable) else [given]
    for record in records:
        if not isinstance(record, RecordMetadata):
            raise AppError(
                f"after= takes what a send returned, or several, not {described(record)}"
            )
        if record.offset is None:
            raise AppError(
                f"a record for {record.topic} that was sent inside an agent has no offset before"
                " its unit commits: after= takes what a send outside of agents returned"
            )
    return tuple(sorted({(each.topic, each.partition, each.offset or 0) for each in records}))
