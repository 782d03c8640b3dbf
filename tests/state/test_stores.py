"""Both stores against a dict, and what the one on disk refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rocksdict import Options, Rdict

from flowstream.state import rocksdb
from flowstream.state.memory import MemoryStore
from flowstream.state.rocksdb import RocksStore, open_store, read_store
from flowstream.state.store import (
    FORMAT,
    ForeignStateError,
    StateStore,
    StoreError,
    StoreIdentity,
    StoreLocked,
)

ME = StoreIdentity("app", "table", 3)
KEYS = st.binary(max_size=3)
WRITES = st.lists(
    st.tuples(
        st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=5),
        st.none() | st.integers(0, 2**40),
        st.none() | st.integers(0, 2**40),
    ),
    max_size=12,
)
Make = Callable[[], StateStore]
IO = Path("/proc/self/io")


@pytest.fixture(params=["memory", "rocksdb"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes new stores of one kind."""
    numbers = iter(range(1_000_000))
    if request.param == "memory":
        return MemoryStore
    return lambda: open_store(tmp_path / str(next(numbers)), ME)


def test_a_new_store_is_empty_and_knows_no_offsets(make: Make) -> None:
    store = make()
    assert isinstance(store, StateStore)
    assert (store.changelog_offset, store.source_offset, store.written_ms) == (None, None, None)
    assert (store.get(b""), store.count(), list(store.scan())) == (None, 0, [])
    store.close()
    store.close()


def test_offset_zero_is_an_offset(make: Make) -> None:
    store = make()
    store.write({}, changelog_offset=0, source_offset=0)
    store.write({b"": b""})
    assert (store.changelog_offset, store.source_offset) == (0, 0)
    assert store.get(b"") == b""
    store.close()


def test_S4_a_store_in_the_middle_of_a_restore_is_not_current(tmp_path: Path) -> None:
    clock = iter(range(10, 100, 10))
    twin = MemoryStore(now_ms=lambda: next(clock))
    twin.write({b"a": b"1"}, changelog_offset=1, caught_up=False)
    assert twin.written_ms == 10, "its first build began now"
    twin.write({b"b": b"1"}, changelog_offset=2, caught_up=False)
    assert twin.written_ms == 10
    twin.write({})
    assert twin.written_ms == 20
    store = open_store(tmp_path, ME)
    store.write({b"a": b"1"}, changelog_offset=1, caught_up=False)
    began = store.written_ms
    assert began is not None
    store._written_ms = began - 1_000
    store.write({b"b": b"1"}, changelog_offset=2, caught_up=False)
    store.close()
    store = open_store(tmp_path, ME)
    assert (store.written_ms, store.changelog_offset) == (began - 1_000, 2)
    store.write({})
    assert store.written_ms is not None
    assert store.written_ms >= began
    store.close()


def test_clear_forgets_everything(make: Make) -> None:
    store = make()
    store.write({b"a": b"1"}, changelog_offset=7, source_offset=8)
    store.clear()
    assert (store.changelog_offset, store.source_offset, store.count()) == (None, None, 0)
    store.write({b"b": b"2"}, changelog_offset=1)
    assert list(store.scan()) == [(b"b", b"2")]
    store.close()


def test_a_scan_sees_the_rows_of_its_beginning(make: Make) -> None:
    store = make()
    store.write({b"%d" % n: b"old" for n in range(5)})
    found = store.scan(b"1", b"4")
    store.write({b"2": None, b"3": b"new", b"35": b"new"})
    assert list(found) == [(b"1", b"old"), (b"2", b"old"), (b"3", b"old")]
    backwards = list(store.scan(b"1", b"4", reverse=True))
    assert backwards == [(b"35", b"new"), (b"3", b"new"), (b"1", b"old")]
    store.close()


def test_a_store_knows_the_topic_it_comes_from(make: Make) -> None:
    store = make()
    assert store.lineage is None
    store.descend(b"one")
    store.write({b"a": b"1"}, changelog_offset=1)
    assert (store.lineage, list(store.scan())) == (b"one", [(b"a", b"1")])
    store.clear()
    assert store.lineage is None
    store.close()


def test_a_store_can_be_read_while_it_is_open(tmp_path: Path) -> None:
    store = open_store(tmp_path, ME)
    store.write({b"a": b"1"}, changelog_offset=1)
    store.flush()
    store.write({b"b": b"2"}, changelog_offset=2)
    reading = read_store(tmp_path, ME)
    assert (reading.changelog_offset, dict(reading.scan())) == (1, {b"a": b"1"}), "as on disk"
    with pytest.raises(StoreError, match="cannot be written"):
        reading.write({b"c": b"3"})
    reading.close()
    store.close()
    with pytest.raises(StoreError):
        read_store(tmp_path / "nothing", ME)
    with pytest.raises(ForeignStateError):
        read_store(tmp_path, ME._replace(partition=9))


def test_a_closed_store_says_so(make: Make) -> None:
    store = make()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write({b"a": b"1"})


@given(writes=WRITES, start=KEYS, stop=st.none() | KEYS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_S1_both_stores_do_what_a_dict_does(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[dict[bytes, bytes | None], int | None, int | None]],
    start: bytes,
    stop: bytes | None,
) -> None:
    path = tmp_path_factory.mktemp("store")
    stores: list[StateStore] = [MemoryStore(), open_store(path, ME)]
    model: dict[bytes, bytes] = {}
    changelog = source = None
    for rows, changelog_offset, source_offset in writes:
        for store in stores:
            store.write(rows, changelog_offset=changelog_offset, source_offset=source_offset)
        for key, value in rows.items():
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        changelog = changelog if changelog_offset is None else changelog_offset
        source = source if source_offset is None else source_offset
    stores[1].close()
    stores[1] = open_store(path, ME)
    wanted = [(k, v) for k, v in sorted(model.items()) if k >= start and (stop is None or k < stop)]
    for store in stores:
        assert (store.changelog_offset, store.source_offset) == (changelog, source)
        assert store.count() == len(model)
        assert list(store.scan(start, stop)) == wanted
        assert list(store.scan(start, stop, reverse=True)) == wanted[::-1]
        assert all(store.get(key) == value for key, value in model.items())
        store.close()


def test_a_crash_of_the_twin_forgets_whole_writes() -> None:
    store = MemoryStore(flush_every=2)
    for n in range(5):
        store.write({b"k": b"%d" % n}, changelog_offset=n)
    store.crash()
    assert (store.get(b"k"), store.changelog_offset) == (b"3", 3)


@pytest.mark.parametrize(
    "other",
    [StoreIdentity("other", "table", 3), ME._replace(table="x"), ME._replace(partition=4)],
)
def test_foreign_state_is_refused(tmp_path: Path, other: StoreIdentity) -> None:
    open_store(tmp_path, other).close()
    with pytest.raises(ForeignStateError, match=str(tmp_path)):
        open_store(tmp_path, ME)
    open_store(tmp_path, other).close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path, ME._replace(format=FORMAT + 1)).close()
    with pytest.raises(ForeignStateError, match="Upgrade"):
        open_store(tmp_path, ME)


@pytest.mark.parametrize("rows", [{b"x": b"y"}, {b"\x00identity": b"not json"}])
def test_a_database_of_something_else_is_refused(tmp_path: Path, rows: dict[bytes, bytes]) -> None:
    with Rdict(str(tmp_path), options=Options(raw_mode=True)) as db:
        for key, value in rows.items():
            db[key] = value
    with pytest.raises(ForeignStateError):
        open_store(tmp_path, ME)


def test_the_identity_is_readable(tmp_path: Path) -> None:
    open_store(tmp_path, ME).close()
    with Rdict(str(tmp_path), options=Options(raw_mode=True)) as db:
        assert msgspec.json.decode(db[b"\x00identity"]) == ["app", "table", 3, FORMAT]


def test_a_store_in_use_is_refused(tmp_path: Path) -> None:
    script = (
        "import sys; from flowstream.state.rocksdb import open_store\n"
        "from flowstream.state.store import StoreIdentity\n"
        f"store = open_store({str(tmp_path)!r}, StoreIdentity('app', 'table', 3))\n"
        "print('open', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked, match="another process"):
            open_store(tmp_path, ME)
        holder.kill()
    open_store(tmp_path, ME).close()


def test_damage_is_named_with_the_remedy(tmp_path: Path) -> None:
    store = open_store(tmp_path, ME)
    store.write({b"%d" % n: bytes(100) for n in range(1_000)}, changelog_offset=1)
    store.close()
    for file in tmp_path.glob("*.sst"):
        file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(StoreError, match="changelog"):
        RocksStore(tmp_path, ME).count()


@pytest.mark.skipif(not IO.exists(), reason="needs /proc")
def test_a_row_of_a_store_larger_than_the_cache_costs_a_few_blocks_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Index and filter of a large file are read in parts: whole, they leave no room for each other
    and every row would cost half a megabyte.
    """
    monkeypatch.setattr(rocksdb, "CACHE_BYTES", 1 << 18)
    rocksdb._block_cache.cache_clear()
    rows = 300_000
    try:
        store = open_store(tmp_path / "large", StoreIdentity("app", "table", 0))
        for start in range(0, rows, 50_000):
            some = range(start, start + 50_000)
            store.write({b"user-%08d" % number: b"%050d" % number for number in some})
        store.flush()
        costs: list[float] = []
        for first in range(10):  # a compaction may read beside some
            before = _bytes_read()
            for number in range(first, rows, rows // 100):
                assert store.get(b"user-%08d" % number) == b"%050d" % number
            costs.append((_bytes_read() - before) / 100)
        store.close()
    finally:
        rocksdb._block_cache.cache_clear()
    assert min(costs) < 10 * rocksdb.BLOCK_BYTES


def _bytes_read() -> int:
    """Bytes that this process has asked of files, cached by the system or not."""
    lines = IO.read_text(encoding="ascii").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])
