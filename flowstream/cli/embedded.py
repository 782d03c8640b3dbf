"""The embedded broker: a child process of whichever worker holds the directory's owner lock.

It knows processes, locks and files; nothing of Kafka and nothing of apps. Layout of the directory:
`broker/` the broker's data, `broker.owner` the lock, `broker.address` where it listens,
`broker.log`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from flowstream.broker.storage.lock import told_address
from flowstream.cli.broker import BUSY, PORT_TAKEN
from flowstream.errors import FlowstreamError

log = logging.getLogger("flowstream.embedded")

# Members of its groups live on this machine and want each other's death noticed soon.
SETTINGS = ("--set", "group.min.session.timeout.ms=1000")
EMBEDDED_DIRECTORY = "broker"
"""The broker's data directory inside the app's."""
PROGRAM = (sys.executable, "-m", "flowstream", "broker", *SETTINGS)
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
SAME_PORT_TIMEOUT_S = 5.0  # how long a successor insists on the port of its predecessor
POLL_S = 0.1
MOST_PORT = 65_535
LITTLE_SPACE = 1 << 20  # a broker that ended without a word on such a disk had no room for one


class EmbeddedBrokerError(FlowstreamError):
    """The broker of a directory cannot be started or found; the message says what to do."""


class EmbeddedBroker:
    """One process's share in the broker of `directory`: its owner, or one who would take over."""

    def __init__(
        self, directory: Path, *, program: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.address = ""
        self.program = (*(program or PROGRAM), *options)
        self._owner_lock: int | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._log_start = 0
        self._pipe: int | None = None  # the child ends when this end closes, whatever ends us

    @property
    def owned(self) -> bool:
        """Whether this process runs the broker."""
        return self._owner_lock is not None

    @property
    def pid(self) -> int | None:
        """Process id of the broker, when it is ours."""
        return None if self._child is None else self._child.pid

    async def start(self) -> str:
        """Find the broker of the directory, or become its owner and start it; its `HOST:PORT`."""
        with using(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            self._take_ownership()
        clock = asyncio.get_running_loop().time
        deadline = clock() + START_TIMEOUT_S
        while not self._take_ownership():
            address = read_address(self.directory)
            if address is not None and await answers(address):
                self.address = address
                return address
            if clock() > deadline:
                raise EmbeddedBrokerError(
                    f"another process owns the broker of {self.directory} but it does not answer"
                    f" at {address}: see {self.directory / 'broker.log'}"
                )
            await asyncio.sleep(POLL_S)
        await self._launch()
        return self.address

    async def watch(self) -> None:
        """Restart our broker when it dies; take over when its owner went. Runs until cancelled."""
        while True:
            if self._child is not None:
                status = await self._child.wait()
                log.warning("the embedded broker ended with status %s: starting it again", status)
                self._close_pipe()
                await self._launch()
            elif self._take_ownership():
                log.warning("the owner of the embedded broker is gone: taking over")
                await self._launch()
            else:
                self.address = read_address(self.directory) or self.address
                await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End our broker (cleanly, within ten seconds) and give up ownership."""
        self._close_pipe()
        if self._child is not None:
            try:
                await asyncio.wait_for(self._child.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                log.error("the embedded broker did not stop within %s s", STOP_TIMEOUT_S)
                self._child.kill()
                await self._child.wait()
            self._child = None
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None

    def _take_ownership(self) -> bool:
        """Whether we hold the owner lock; it goes with the process, so the dead own nothing."""
        if self._owner_lock is not None:
            return True
        fd = os.open(self.directory / "broker.owner", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._owner_lock = fd
        return True

    async def _launch(self) -> None:
        """Start the broker, on the last port when that can be had, and publish its address.

        A predecessor may need a moment to let go of the directory, and a child may be killed: both
        are tried again until the deadline. A broker that somebody runs there by itself stays, and
        what a child refuses, it will refuse again. Only a port that stays in use is given up:
        clients find a broker where they found it before.
        """
        with using(self.directory):
            await self._start_child()

    async def _start_child(self) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        last = read_address(self.directory)
        port = int(last.rpartition(":")[2]) if last is not None else 0
        taken_since: float | None = None
        waits = False
        while True:
            found = await self._spawn(port)
            if isinstance(found, str):
                break
            now = clock()
            if found == BUSY:
                await self._refuse_beside_another()
            if now - began > START_TIMEOUT_S:
                raise self._does_not_start(found)
            if found == BUSY and not waits:
                waits = True
                log.info("%s: waiting, %d s at most", self._last_word(), START_TIMEOUT_S)
            if found != PORT_TAKEN:
                taken_since = None  # who was killed has said nothing about the port
            elif taken_since is None:
                taken_since = now
                log.warning(
                    "port %d, where clients found the embedded broker before, is taken by another"
                    " program: in %d s it goes to a free one",
                    port,
                    SAME_PORT_TIMEOUT_S,
                )
            elif now - taken_since > SAME_PORT_TIMEOUT_S:
                port = 0
            await asyncio.sleep(POLL_S)
        if last not in (None, found):
            log.warning("the embedded broker moved from %s to %s", last, found)
        self.address = found
        write_address(self.directory, found)

    async def _refuse_beside_another(self) -> None:
        """Raises when whoever uses the directory is no predecessor that goes."""
        alone = await standing_broker(self.directory)
        if alone is not None:
            raise alone

    async def _spawn(self, port: int) -> str | int:
        """Run the child until it says `ready HOST:PORT`; its exit status when it ends before."""
        theirs, ours = os.pipe()
        command = (*self.program, "--data", str(self.directory / EMBEDDED_DIRECTORY))
        command += ("--port", str(port), "--owner-fd", str(theirs))
        try:
            with (self.directory / "broker.log").open("ab") as errors:
                self._log_start = errors.tell()
                child = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    pass_fds=(theirs,),
                    start_new_session=True,  # Ctrl-C is for the worker, which commits first
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._pipe, self._child = ours, child
        assert child.stdout is not None
        line = (await child.stdout.readline()).decode("utf-8", "replace").split()
        if len(line) == 2 and line[0] == "ready":
            return line[1]
        self._close_pipe()
        status = await child.wait()
        if status >= 0 and status not in (BUSY, PORT_TAKEN):
            raise self._does_not_start(status)
        return status

    def _does_not_start(self, status: int) -> EmbeddedBrokerError:
        told = log_tail(self.directory, self._log_start)
        if status == BUSY:
            return EmbeddedBrokerError(
                f"{self._last_word()} and does not let go of it: end that process, or give this"
                " worker another directory with --data"
            )
        return EmbeddedBrokerError(f"the broker of {self.directory} does not start:\n{told}")

    def _last_word(self) -> str:
        """Who uses the directory, as the last child found it."""
        told = log_tail(self.directory, self._log_start).splitlines()[-1]
        return told.removeprefix("flowstream broker: ").partition(": stop it")[0]

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


@contextlib.contextmanager
def using(directory: Path) -> Iterator[None]:
    """Tells what the system refuses in a block as an error about the directory."""
    try:
        yield
    except OSError as error:
        raise EmbeddedBrokerError(
            f"cannot keep a broker in {directory}: {error.strerror or error}. Give another"
            " directory with --data, or a running broker with --broker HOST:PORT"
        ) from error


@contextlib.asynccontextmanager
async def embedded_broker(
    directory: Path, *, options: Sequence[str] = ()
) -> AsyncIterator[EmbeddedBroker]:
    """The broker of `directory` for the length of a block, kept alive meanwhile.

    The block is cancelled, and EmbeddedBrokerError raised, when the broker cannot be kept alive.
    """
    broker = EmbeddedBroker(directory, options=options)
    failed: BaseException | None = None
    try:
        await broker.start()
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(broker.watch())
            yield broker
            watch.cancel()
    except BaseExceptionGroup as group:
        failed = first_error(group)
    finally:
        await broker.stop()
    if failed is not None:
        raise failed


def first_error(group: BaseExceptionGroup) -> BaseException:
    """The error that came first in a group: what is told to the user, with its own cause."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def find_broker(directory: Path) -> str:
    """Address of the embedded broker of `directory`, for those who only visit it."""
    address = read_address(directory)
    if address is None:
        raise EmbeddedBrokerError(
            f"no broker was ever started on {directory}: start a worker there, name the directory"
            " with --data, or a broker with --broker HOST:PORT"
        )
    return address


async def standing_broker(directory: Path) -> EmbeddedBrokerError | None:
    """The error for those who need the broker of a directory in which somebody runs one by itself;
    None when nobody does.
    """
    told = told_address(directory / EMBEDDED_DIRECTORY)
    if told is None or not await answers(told[1]):
        return None
    pid, address = told
    return EmbeddedBrokerError(
        f"a broker that was started by itself runs in {directory / EMBEDDED_DIRECTORY} at"
        f" {address} (process {pid}): use it with --broker {address}, or stop it first"
    )


def not_running(directory: Path, address: str) -> EmbeddedBrokerError:
    """The error for those who visit a broker whose workers are gone."""
    return EmbeddedBrokerError(
        f"the broker of {directory} is not running (it was at {address}): start a worker there,"
        " which runs it (a command of the app does so as long as it lasts itself), or"
        f" run it alone with `flowstream broker --data {directory / 'broker'}` and visit it with"
        " --broker HOST:PORT"
    )


def read_address(directory: Path) -> str | None:
    """What `broker.address` says, if it is there."""
    try:
        text = (directory / "broker.address").read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    host, _, port = text.rpartition(":")
    if not (text.isascii() and host and port.isdigit() and int(port) <= MOST_PORT):
        raise EmbeddedBrokerError(f"{directory / 'broker.address'} is damaged: delete it")
    return text


def write_address(directory: Path, address: str) -> None:
    """Publish the address: a reader sees the old or the new, never half of it (D1)."""
    temporary = directory / f"broker.address.{os.getpid()}"
    with temporary.open("w", encoding="ascii") as file:
        file.write(address + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(directory / "broker.address")


async def answers(address: str) -> bool:
    """Whether something accepts connections at `address`."""
    host, _, port = address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


def log_tail(directory: Path, start: int, lines: int = 10) -> str:
    """The last words of the broker that wrote from byte `start` of the log on."""
    with (directory / "broker.log").open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    if text:
        return "\n".join(text.splitlines()[-lines:])
    free = shutil.disk_usage(directory).free
    if free < LITTLE_SPACE:
        return (
            f"the disk of {directory} is full ({free} bytes are free): free space, then start again"
        )
    return f"it left no word in {directory / 'broker.log'}"
