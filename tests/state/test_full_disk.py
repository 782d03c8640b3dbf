"""D7: a real disk without space is told with the path and the remedy, and the store is let go."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MOUNT = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -c "$3" "$1"'

FILL = """
import os, sys
from pathlib import Path
from flowstream.state.rocksdb import open_store
from flowstream.state.store import StoreError, StoreIdentity

path, identity = Path(sys.argv[1]) / "store", StoreIdentity("app", "table", 0)
store = open_store(path, identity)
store.write({b"kept": b"1"}, changelog_offset=1)
store.flush()
for number in range(100):
    store.write({b"%d" % (number * 100 + n): os.urandom(1_000) for n in range(100)})
for use in (store.flush, store.close):
    try:
        use()
    except StoreError as error:
        print(use.__name__, error)
store = open_store(path, identity)
print("again", store.get(b"kept"), store.changelog_offset)
"""


def test_D7_S3_a_store_on_a_full_disk_is_let_go_and_keeps_what_it_had(tmp_path: Path) -> None:
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]
    ran = subprocess.run(
        [*namespace, str(tmp_path), sys.executable, FILL],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if not ran.stdout and ("unshare" in ran.stderr or "mount" in ran.stderr):
        pytest.skip("a small disk needs a mount namespace, which this machine does not allow")
    flushed, closed, again = ran.stdout.splitlines()
    for line in (flushed, closed):
        assert f"the disk of {tmp_path}/store is full (" in line
        assert "Free space and start again" in line
    assert again == "again b'1' 1"
