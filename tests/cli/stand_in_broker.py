"""A process that behaves like `flowstream broker` as far as its owner can see: locks its directory,
listens, says `ready`, and ends when the owner's pipe closes."""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--port", type=int)
parser.add_argument("--owner-fd", type=int)
parser.add_argument("--refuse", action="store_true")
parser.add_argument("--fall", help="a file: killed in the start once for every byte in it")
args = parser.parse_args()
if args.fall is not None and os.path.getsize(args.fall):
    os.truncate(args.fall, os.path.getsize(args.fall) - 1)
    os.kill(os.getpid(), signal.SIGKILL)
if args.refuse:
    sys.exit("corrupt log: segment 0 of t-0")
os.makedirs(args.data, exist_ok=True)
lock = os.open(os.path.join(args.data, ".lock"), os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print(f"{args.data} is in use by process 17: stop it, or whatever", file=sys.stderr)
    sys.exit(75)
try:
    listener = socket.create_server(("127.0.0.1", args.port))
except OSError:
    print(f"port {args.port} on 127.0.0.1 is taken", file=sys.stderr)
    sys.exit(69)
print(f"ready 127.0.0.1:{listener.getsockname()[1]}", flush=True)
os.read(args.owner_fd, 1)
