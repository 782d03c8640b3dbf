"""Quix Streams, exactly once. Run: python quix_app.py BOOTSTRAP N"""

import os
import sys
import tempfile
import time

from quixstreams import Application

bootstrap, total = sys.argv[1], int(sys.argv[2])
app = Application(
    broker_address=bootstrap,
    consumer_group=f"quix{os.getpid()}",
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=0.1,
    state_dir=tempfile.mkdtemp(),
    loglevel="ERROR",
)
progress = {"seen": 0, "start": 0.0}


def count(event, state):
    n = state.get("count", 0) + 1
    state.set("count", n)
    progress["seen"] += 1
    if progress["seen"] == total // 10:
        progress["start"] = time.perf_counter()
    if progress["seen"] == total:
        rate = (total - total // 10) / (time.perf_counter() - progress["start"])
        os.write(1, b"quix %d rec/s\n" % rate)
        os._exit(0)
    return {"key": event["user"], "count": n, "amount": event["amount"]}


events = app.topic("events", value_deserializer="json")
counts = app.topic("counts", value_serializer="json")
app.dataframe(events).apply(count, stateful=True).to_topic(counts)
app.run()
