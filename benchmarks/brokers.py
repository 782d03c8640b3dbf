"""Start and stop the brokers that are measured, each with empty data on the same kind of disk."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
MEMORY_DISK = Path("/dev/shm")
PROCESS_CPU = 2
"""What makes a process id the id of its CPU clock (clock_getcpuclockid)."""
WARM_MB = 1500
STOP_S = 300
"""A clean stop writes gigabytes to the disk."""


@dataclass(frozen=True, slots=True)
class Running:
    """A broker that answers at `address` (HOST:PORT)."""

    name: str
    address: str
    pid: int
    seconds_to_ready: float

    def resident_mb(self) -> float:
        """Resident memory of the broker process in MB."""
        return self._status_mb("VmRSS:")

    def peak_resident_mb(self) -> float:
        """The most it ever had."""
        return self._status_mb("VmHWM:")

    def cpu_seconds(self) -> float:
        """User and system time the broker process has used, exact to the nanosecond."""
        return time.clock_gettime((~self.pid << 3) | PROCESS_CPU)

    def _status_mb(self, name: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
        raise RuntimeError(f"no {name} for pid {self.pid}")


def fresh_directory(on_disk: bool) -> Path:
    """An empty directory: in memory unless the row measures the disk."""
    parent = None if on_disk or not MEMORY_DISK.is_dir() else MEMORY_DISK
    return Path(tempfile.mkdtemp(prefix="flowstream-bench-", dir=parent))


def warm_memory() -> None:
    """Fill and free as many pages as a sample needs. A virtual machine's host takes free pages back
    after seconds, and a page touched for the first time costs more than all a broker does with it:
    without this, who runs after the one that deletes its files late is three times slower.
    """
    block = bytes(1 << 20)
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(WARM_MB):
            file.write(block)


def free_port() -> int:
    """A port nobody listens on now, nor on the next one, which Kafka's controller takes. Below what
    the system gives to others in the meantime.
    """
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextlib.contextmanager
def flowstream(
    *settings: str, durability: str = "os", on_disk: bool = False, data: Path | None = None
) -> Iterator[Running]:
    """Our broker, `settings` as KEY=VALUE; `data` is kept, without it the directory is removed."""
    directory = fresh_directory(on_disk) if data is None else data
    command = [
        sys.executable,
        "-m",
        "flowstream",
        "broker",
        "--data",
        str(directory),
        "--port",
        "0",
    ]
    command += ["--durability", durability]
    command += [part for setting in settings for part in ("--set", setting)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"the broker did not start: {line!r}")
        yield Running("flowstream", line.split()[1], process.pid, time.perf_counter() - started)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
        if data is None:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def kafka(*settings: str, on_disk: bool = False) -> Iterator[Running]:
    """Apache Kafka, `settings` as KEY=VALUE; needs java and mvn."""
    directory = fresh_directory(on_disk)
    port = free_port()
    started = time.perf_counter()
    subprocess.run(
        [PEERS / "kafka", "start", directory, str(port), *settings],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ready = time.perf_counter() - started
    try:
        pid = int((directory / "pid").read_text(encoding="utf-8"))
        yield Running("kafka", f"127.0.0.1:{port}", pid, ready)
    finally:
        subprocess.run([PEERS / "kafka", "stop", directory], check=False)
        shutil.rmtree(directory, ignore_errors=True)
