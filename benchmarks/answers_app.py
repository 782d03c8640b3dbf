"""An app that is asked, and whose table is read from outside: `flowstream worker -A
benchmarks.answers_app`. Its name and its broker (HOST:PORT) are in the environment.
"""

from __future__ import annotations

import os

import flowstream as fs

app = fs.App(os.environ["ANSWERS_APP"], broker=f"kafka://{os.environ['ANSWERS_BROKER']}")
transfers = app.topic(f"{app.id}-transfers", key_type=str, value_type=int, partitions=4)
balances = app.Table("balances", key_type=str, value_type=int, default=int)


@app.agent(transfers)
async def transfer(stream: fs.Stream[int]):
    """Tell what an account has now."""
    async for account, amount in stream.items():
        balances[account] += amount
        yield balances[account]
