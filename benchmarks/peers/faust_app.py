"""Faust, at least once. Run: python faust_app.py BOOTSTRAP N"""

import os
import sys
import tempfile
import time

import faust

bootstrap, total = sys.argv[1], int(sys.argv[2])
sys.argv = [sys.argv[0], "worker", "-l", "error", "--without-web"]
app = faust.App(
    f"faust{os.getpid()}",
    broker=f"kafka://{bootstrap}",
    store="rocksdb://",
    topic_partitions=4,
    topic_disable_leader=True,
    broker_commit_interval=0.1,
    datadir=tempfile.mkdtemp(),
    consumer_auto_offset_reset="earliest",
)
events = app.topic("events", key_type=str, key_serializer="raw", value_serializer="json")
counts = app.topic("counts", value_serializer="json")
table = app.Table("count", default=int, partitions=4)
progress = {"seen": 0, "start": 0.0}


@app.agent(events, sink=[counts])
async def count(stream):
    async for user, event in stream.items():
        table[user] += 1
        progress["seen"] += 1
        if progress["seen"] == total // 10:
            progress["start"] = time.perf_counter()
        if progress["seen"] == total:
            os.write(
                1,
                b"faust %d rec/s\n"
                % ((total - total // 10) / (time.perf_counter() - progress["start"])),
            )
            os._exit(0)
        yield {"key": user, "count": table[user], "amount": event["amount"]}


if __name__ == "__main__":
    app.main()
