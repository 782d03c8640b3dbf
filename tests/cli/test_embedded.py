"""The embedded broker's life: started, found, restarted, taken over, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstream.cli import embedded
from flowstream.cli.embedded import EmbeddedBroker, EmbeddedBrokerError, find_broker, read_address

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_broker.py")))


def share(directory: Path) -> EmbeddedBroker:
    """A process's share in the broker of `directory` (locks are per open file, so one process may
    hold several shares)."""
    return EmbeddedBroker(directory, program=STAND_IN)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[int]:
    """The lock of a broker's directory held by somebody else, for the length of a block."""
    descriptor = os.open(path, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition` of other processes; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - another process cannot set our event
        await asyncio.sleep(0.01)


async def reachable(address: str, *, wanted: bool = True) -> None:
    """Wait until something listens at `address`, or nothing does."""
    while await embedded.answers(address) is not wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_the_first_owns_it_and_the_second_finds_it(tmp_path: Path) -> None:
    first, second = share(tmp_path), share(tmp_path)
    address = await first.start()
    assert first.owned
    assert await second.start() == address
    assert not second.owned
    assert find_broker(tmp_path) == address
    await second.stop()
    assert await embedded.answers(address)
    await first.stop()
    assert not await embedded.answers(address)


async def test_a_killed_broker_comes_back_at_the_same_address(tmp_path: Path) -> None:
    broker = share(tmp_path)
    address = await broker.start()
    watch = asyncio.create_task(broker.watch())
    old = broker.pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    await until(lambda: broker.pid not in (None, old))
    await reachable(address)
    assert broker.address == address
    watch.cancel()
    await broker.stop()


async def test_V1_a_broker_that_is_killed_while_it_starts_keeps_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "SAME_PORT_TIMEOUT_S", 0.0)
    falls = tmp_path / "falls"
    falls.touch()
    broker = EmbeddedBroker(tmp_path, program=(*STAND_IN, "--fall", str(falls)))
    address = await broker.start()
    await broker.stop()
    falls.write_bytes(b"...")
    assert await broker.start() == address
    assert falls.read_bytes() == b""
    await broker.stop()


async def test_a_port_that_stays_taken_is_named_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "SAME_PORT_TIMEOUT_S", 0.0)
    broker = share(tmp_path)
    address = await broker.start()
    await broker.stop()
    port = int(address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        assert await broker.start() != address
    assert read_address(tmp_path) == broker.address
    await broker.stop()
    first, moved = [each.getMessage() for each in caplog.records]
    assert first.startswith(
        f"port {port}, where clients found the embedded broker before, is taken"
    )
    assert moved == f"the embedded broker moved from {address} to {broker.address}"


async def test_a_directory_that_is_let_go_of_late_costs_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedded, "SAME_PORT_TIMEOUT_S", 0.0)
    broker = share(tmp_path)
    address = await broker.start()
    await broker.stop()
    with caplog.at_level(logging.INFO), hold(tmp_path / "broker" / ".lock") as lock:
        starting = asyncio.create_task(broker.start())
        await until(lambda: (tmp_path / "broker.log").read_text().count("in use") >= 3)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert await starting == address
    await broker.stop()
    (told,) = caplog.messages
    assert told == f"{tmp_path / 'broker'} is in use by process 17: waiting, 30 s at most"


async def test_a_directory_that_is_not_let_go_of_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = share(tmp_path)
    await broker.start()
    await broker.stop()
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.0)
    still = pytest.raises(EmbeddedBrokerError, match="by process 17 and does not let go of it")
    with hold(tmp_path / "broker" / ".lock"), still:
        await broker.start()
    await broker.stop()


async def test_a_worker_beside_a_broker_that_runs_alone_is_told_its_address_at_once(
    tmp_path: Path,
) -> None:
    command = (sys.executable, "-m", "flowstream", "broker", "--port", "0", "--data")
    alone = await asyncio.create_subprocess_exec(
        *command, str(tmp_path / "broker"), stdout=asyncio.subprocess.PIPE
    )
    assert alone.stdout is not None
    _, address = (await alone.stdout.readline()).decode().split()
    broker, expected = EmbeddedBroker(tmp_path), f"at {address} (process {alone.pid}): use it with"
    with pytest.raises(EmbeddedBrokerError) as told:
        await broker.start()
    assert f"{expected} --broker {address}" in str(told.value)
    await broker.stop()
    told_visitor = await embedded.standing_broker(tmp_path)
    assert expected in str(told_visitor)
    alone.terminate()
    await alone.wait()
    assert await embedded.standing_broker(tmp_path) is None
    await broker.start()
    await broker.stop()


async def test_when_the_owner_goes_another_takes_over(tmp_path: Path) -> None:
    first, second = share(tmp_path), share(tmp_path)
    address = await first.start()
    await second.start()
    watch = asyncio.create_task(second.watch())
    await first.stop()
    await until(lambda: second.owned and second.pid is not None)
    await reachable(address)
    assert second.address == address == read_address(tmp_path)
    watch.cancel()
    await second.stop()


async def test_the_broker_ends_with_a_killed_owner(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from flowstream.cli.embedded import EmbeddedBroker\n"
        "async def main():\n"
        "    broker = EmbeddedBroker(Path(sys.argv[1]), program=sys.argv[2:])\n"
        "    print(await broker.start(), flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())"
    )
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path), *STAND_IN, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    address = (await owner.stdout.readline()).decode().strip()
    assert await embedded.answers(address)
    owner.kill()
    await owner.wait()
    await reachable(address, wanted=False)
    heir = share(tmp_path)
    assert await heir.start() == address
    await heir.stop()


async def test_a_broker_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 3600.0)  # it refuses for good: not tried again
    (tmp_path / "broker.log").write_text("words of another time\n")
    broker = EmbeddedBroker(tmp_path, program=STAND_IN, options=["--refuse"])
    with pytest.raises(EmbeddedBrokerError, match="corrupt log: segment 0 of t-0") as told:
        await broker.start()
    assert "another time" not in str(told.value)
    await broker.stop()


async def test_a_broker_without_room_for_a_word_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LITTLE_SPACE", 1 << 62)
    broker = EmbeddedBroker(tmp_path, program=(sys.executable, "-c", "raise SystemExit(1)"))
    with pytest.raises(EmbeddedBrokerError, match=r"the disk of .* is full"):
        await broker.start()
    await broker.stop()


@pytest.mark.parametrize("place", ["file", "file/below"])
async def test_a_directory_that_cannot_be_used_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedBrokerError, match=r"cannot keep a broker in .*"):
        await share(tmp_path / place).start()


async def test_a_block_is_cancelled_when_the_broker_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PROGRAM", STAND_IN)
    with pytest.raises(EmbeddedBrokerError, match="does not start"):  # noqa: PT012
        async with embedded.embedded_broker(tmp_path) as broker:
            monkeypatch.setattr(embedded, "START_TIMEOUT_S", -1.0)
            broker.program = (*STAND_IN, "--refuse")
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGKILL)
            await asyncio.Event().wait()


async def test_an_error_of_the_block_comes_out_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PROGRAM", STAND_IN)
    cause = ValueError("bad amount")
    with pytest.raises(KeyError) as raised:
        async with embedded.embedded_broker(tmp_path):
            raise KeyError("agent") from cause
    assert raised.value.__cause__ is cause


def test_no_broker_and_a_damaged_address_are_told(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedBrokerError, match="start a worker there"):
        find_broker(tmp_path)
    for damaged in (b"nonsense", b"127.0.0.1:99092", b"127.0.0.1\xff:9092"):
        (tmp_path / "broker.address").write_bytes(damaged)
        with pytest.raises(EmbeddedBrokerError, match="damaged"):
            find_broker(tmp_path)
