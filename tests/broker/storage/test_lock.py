"""One broker per directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowstream.broker.storage.lock import DirectoryLock, DirectoryLocked

HOLD = """
import sys
from flowstream.broker.storage.lock import DirectoryLock
DirectoryLock(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path) as lock:
        with pytest.raises(DirectoryLocked, match=f"in use by process {os.getpid()}: stop it"):
            DirectoryLock(tmp_path)
        lock.release()
        lock.release()
    DirectoryLock(tmp_path).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DirectoryLocked, match=f"process {holder.pid}"):
            DirectoryLock(tmp_path)
        holder.kill()
        holder.wait()
        DirectoryLock(tmp_path).release()


def test_children_do_not_inherit_it(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        lock.release()
        DirectoryLock(tmp_path).release()
        child.communicate(b"\n")
