"""The worker: runs an app's agents as one member of its group, until it is stopped or fails.

Shell: wires cluster, slot, transaction session and membership, and decides what a failure costs:
a rewind, a new membership, or the worker.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from flowstream.clock import wall_ms
from flowstream.processing import assignor
from flowstream.processing.app import App
from flowstream.processing.committer import Checkpoint, Committer, no_checkpoint
from flowstream.processing.commit import EXACTLY_ONCE
from flowstream.processing.errors import AppError
from flowstream.processing.membership import Membership
from flowstream.processing.outputs import OutputTopic
from flowstream.processing.plan import Plan
from flowstream.processing.provision import provision
from flowstream.processing.slots import Slot, take_slot
from flowstream.processing.starting import TaskStarter
from flowstream.processing.surroundings import Counts
from flowstream.processing.watchdog import Watchdog
from flowstream.transport.admin import Admin
from flowstream.transport.assignor import Member, group_assignor
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.consumer import GroupConsumer
from flowstream.transport.errors import (
    BrokerUnreachable,
    CommitRefused,
    ConsumerFailed,
    OffsetOutOfRange,
    TransportError,
)
from flowstream.transport.transaction import TransactionSession

log = logging.getLogger("flowstream.worker")

RECOVERY_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
STOP_TIMEOUT_S = 8.0
