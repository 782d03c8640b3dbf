"""How long somebody outside waits for an app's answers: asking an agent, reading a table.

`python -m benchmarks.answers ask|query COUNT` asks and prints one line, `p50 N ms`; the rows run
it beside a worker, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from benchmarks import brokers
from benchmarks.measure import Row, compare
from benchmarks.workers import rate

ASKED, READ = 100, 500
KEYS = 50


@contextlib.contextmanager
def _worker(environment: dict[str, str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="bench-") as data:
        process = subprocess.Popen(
            [sys.executable, "-m", "flowstream", "worker", "-A", "benchmarks.answers_app",
             "--data", data, "--web-port", "0", "--loglevel", "warning"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            process.terminate()
            process.wait(60)


def p50_ms(what: str, count: int, address: str) -> float:
    """Median of so many answers, one after the other, of a worker of a new app."""
    name = f"answers-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "ANSWERS_APP": name, "ANSWERS_BROKER": address}
    command = [sys.executable, "-m", "benchmarks.answers", what, str(count)]
    with _worker(environment):
        return rate(command, r"p50 ([\d.]+) ms", environment)


def _row(title: str, what: str, count: int, rounds: int, target: str) -> Row:
    with brokers.flowstream() as ours, brokers.kafka() as theirs:
        contenders = {b.name: partial(p50_ms, what, count, b.address) for b in (ours, theirs)}
        name = f"worker_{what}"
        command = f"python -m benchmarks {name}"
        return compare(title, "ms", contenders, rounds=rounds, target=target, command=command)


def worker_ask(rounds: int) -> Row:
    """Question to reply, which comes with the commit of its event."""
    title = "`agent.ask`, p50, a worker on our broker and on Kafka"
    return _row(title, "ask", ASKED, rounds, "<= commit interval (100 ms) + 20 ms")


def worker_query(rounds: int) -> Row:
    """A row of a table by its key, from another process."""
    title = "`app.query(table).get(key)`, p50, a worker on our broker and on Kafka"
    return _row(title, "query", READ, rounds, "<= 5 ms")


ROWS = {row.__name__: row for row in (worker_ask, worker_query)}


async def _median_ms(count: int, answer: Callable[[str], Awaitable[object]]) -> float:
    took = []
    for number in range(count):
        key = f"account-{number % KEYS}"
        began = time.perf_counter()
        await answer(key)
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def _asked(what: str, count: int) -> None:
    from benchmarks.answers_app import app, balances, transfer, transfers

    async with app:
        await transfers.maybe_declare()
        for number in range(KEYS):
            sent = await transfers.send(key=f"account-{number}", value=1)
        await transfer.ask(1, key="account-0", timeout=60)
        query = app.query(balances)
        await query.get(f"account-{KEYS - 1}", after=sent, timeout=60)
        if what == "ask":
            found = await _median_ms(count, lambda key: transfer.ask(1, key=key, timeout=60))
        else:
            found = await _median_ms(count, query.get)
    print(f"p50 {found:.3f} ms")


if __name__ == "__main__":
    asyncio.run(_asked(sys.argv[1], int(sys.argv[2])))
