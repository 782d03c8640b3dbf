"""A group leader that knows no metadata: found by a crash campaign that killed the broker just when
the leader asked for it, after which both workers owned nothing for minutes."""

from __future__ import annotations

from types import SimpleNamespace

from flowstream.processing.group.claiming import NO_COPIES, claiming_assignor
from flowstream.transport.assignor import Member


def test_G7_a_leader_without_metadata_still_gives_every_partition_an_owner() -> None:
    membership, starter = SimpleNamespace(held=[]), SimpleNamespace(state=dict)
    assignor = claiming_assignor(membership, starter, {"in": 4}, lambda assign: assign, NO_COPIES)
    members = {name: Member(frozenset({"in"}), b"") for name in ("m1", "m2")}
    decided = assignor.decide(members, {})
    owned = sorted(tp for share in decided.values() for tp in share.partitions)
    assert owned == [("in", n) for n in range(4)]
