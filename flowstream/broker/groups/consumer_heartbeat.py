"""What a member's heartbeat does to its consumer group (KIP-848).

Three steps, as in Kafka: the member is what it says now, and the group has a new epoch when that
matters to others; the group gets a new target assignment when its epoch calls for one; the member
takes its next step towards the target. Records are left in the turn; soft state is changed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flowstream.broker.groups import consumer_changes as changes
from flowstream.broker.groups import consumer_target as target
from flowstream.broker.groups.consumer_group import ConsumerGroup, Resolved, names_of
from flowstream.broker.groups.consumer_member import ConsumerMember, MemberState, Target
from flowstream.broker.groups.consumer_reconcile import Goal, Owned, reconcile
from flowstream.broker.groups.consumer_topics import metadata_hash
from flowstream.broker.groups.consumer_turn import REGEX_REFRESH_MIN_MS, ConsumerTurn, Refused
from flowstream.broker.groups.room import PATTERNS, full, weigh_consumer
from flowstream.broker.patterns import full_match
from flowstream.wire.error_codes import ErrorCode

MATCHES = 1 << 15
"""Of patterns with topics in one heartbeat, some us each (X4); at least one pattern is matched, the
others with the next heartbeats."""


@dataclass(frozen=True, slots=True)
class Step:
    """One member's move: as it was, as it says it is, and whose place it takes."""

    before: ConsumerMember
    after: ConsumerMember
    replaced: ConsumerMember | None = None
    """The static member whose instance id it brings."""


def check_room(group: ConsumerGroup, step: Step, turn: ConsumerTurn) -> Refused | None:
    """Whether the group can keep what the member says now (X3)."""
    before, after, old = step.before, step.after, step.replaced
    is_new = old is None and after.member_id not in group.members
    if after == before and not is_new:
        return None
    others = (m.regex for m in group.members.values() if m not in (before, old))
    if after.regex and after.regex not in group.regexes and len({*others, ""}) > PATTERNS:
        text = f"group {group.group_id} has {PATTERNS} regular expressions, more are not allowed"
        return Refused(ErrorCode.GROUP_MAX_SIZE_REACHED, text)
    growth = weigh_consumer(after) - (0 if is_new else weigh_consumer(old or before))
    if turn.room.admits(group, growth, turn.now):
        return None
    return Refused(ErrorCode.GROUP_MAX_SIZE_REACHED, full(group))


def advance(group: ConsumerGroup, step: Step, owned: Owned, turn: ConsumerTurn) -> ConsumerMember:
    """Let a member take a step; the member as it is from now on."""
    before, after = step.before, step.after
    members, had = _replace(group, step, turn)
    is_new = after.member_id not in group.members and step.replaced is None
    if after != before or is_new:
        turn.records.append(changes.metadata(group.group_id, after))
    resubscribed = (before.names, before.regex) != (after.names, after.regex)
    regexes, matched_anew = _resolve(group, after, members, turn)
    epoch = _group_epoch(group, members, regexes, resubscribed or matched_anew, turn)
    if target.is_due(group, epoch, turn):
        had = target.update(group, epoch, members, had, regexes, turn)
        assignment_epoch = epoch
    else:
        assignment_epoch = group.assignment_epoch
    goal = Goal(
        epoch=assignment_epoch,
        target=had.get(after.member_id, {}),
        subscribed=target.ids_of(after, regexes, turn.known),
        is_owned=group.is_owned,
    )
    moved = reconcile(after, goal, owned, resubscribed=resubscribed)
    if moved != after or is_new:
        turn.records.append(changes.assignment(group.group_id, moved))
        _await_revocation(group, moved, turn)
    return moved


def fence(group: ConsumerGroup, gone: list[ConsumerMember], turn: ConsumerTurn) -> None:
    """Members are gone, by their own will or not: the others share anew with their next
    heartbeats."""
    left = {each.member_id for each in gone}
    members = {name: each for name, each in group.members.items() if name not in left}
    for each in gone:
        turn.records += changes.departure(group.group_id, each.member_id)
        cancel_timers(group, each.member_id)
    regexes = dict(group.regexes)
    for pattern in dict.fromkeys(each.regex for each in gone):
        if pattern in regexes and all(m.regex != pattern for m in members.values()):
            del regexes[pattern]
            turn.records.append(changes.regex(group.group_id, pattern, None))
    _group_epoch(group, members, regexes, True, turn)


def cancel_timers(group: ConsumerGroup, member_id: str) -> None:
    """Nothing is awaited of a member any more."""
    for kind in ("session", "rebalance", "join", "sync"):
        group.timers.cancel((kind, member_id))


def _replace(
    group: ConsumerGroup, step: Step, turn: ConsumerTurn
) -> tuple[Mapping[str, ConsumerMember], Mapping[str, Target]]:
    """The members and targets as they are with the member in its place."""
    after, old = step.after, step.replaced
    if old is None and group.members.get(after.member_id) == after:
        return group.members, group.targets  # as after most heartbeats: thousands may beat (X4)
    members: dict[str, ConsumerMember] = dict(group.members)
    targets: dict[str, Target] = dict(group.targets)
    if old is not None:
        del members[old.member_id]
        inherited = targets.pop(old.member_id, {})
        targets[after.member_id] = inherited
        turn.records += changes.departure(group.group_id, old.member_id)
        turn.records.append(changes.metadata(group.group_id, step.before))
        turn.records.append(changes.target(group.group_id, after.member_id, inherited))
        turn.records.append(changes.assignment(group.group_id, step.before))
        cancel_timers(group, old.member_id)
    members[after.member_id] = after
    return members, targets


def _resolve(
    group: ConsumerGroup,
    after: ConsumerMember,
    members: Mapping[str, ConsumerMember],
    turn: ConsumerTurn,
) -> tuple[Mapping[str, Resolved], bool]:
    """The regular expressions of all members with the topics they match, and whether one matches
    others than before. A new one is matched at once, the rest now and then, the oldest first."""
    if not after.regex and not group.regexes:
        return {}, False
    used = dict.fromkeys(each.regex for each in members.values() if each.regex)
    regexes = {pattern: each for pattern, each in group.regexes.items() if pattern in used}
    for pattern in group.regexes:
        if pattern not in used:
            turn.records.append(changes.regex(group.group_id, pattern, None))
    new = [each for each in used if each not in regexes]
    stale = [each for each, resolved in regexes.items() if _is_stale(resolved, turn)]
    stale.sort(key=lambda each: regexes[each].timestamp)
    most = max(MATCHES // max(len(turn.known.topics), 1), 1)
    changed = False
    for pattern in [*new, *stale][:most]:
        # Shared by all who use the pattern, and as in Kafka by the rights of whoever is asking.
        topics = frozenset(filter(turn.allows, filter(full_match(pattern), turn.known.topics)))
        changed = changed or pattern not in regexes or regexes[pattern].topics != topics
        regexes[pattern] = Resolved(topics, turn.topics_version, turn.now)
        turn.records.append(changes.regex(group.group_id, pattern, regexes[pattern]))
    if changed:
        turn.room.weigh_anew()
    return regexes, changed


def _is_stale(resolved: Resolved, turn: ConsumerTurn) -> bool:
    """Whether a pattern must be matched again: after long, when there are other topics, or when
    the clock was set back while the broker was down."""
    age_ms = turn.now - resolved.timestamp
    has_news = resolved.version < turn.topics_version
    soonest = REGEX_REFRESH_MIN_MS if has_news else turn.limits.regex_refresh_ms
    return not 0 <= age_ms <= soonest


def _group_epoch(
    group: ConsumerGroup,
    members: Mapping[str, ConsumerMember],
    regexes: Mapping[str, Resolved],
    bump: bool,
    turn: ConsumerTurn,
) -> int:
    """The group's epoch from now on: a new one when `bump` or when topics that are read have
    changed. Epochs only grow (G5)."""
    if not bump and group.topics_seen == turn.topics_version:
        return group.epoch
    names = {name for each in members.values() for name in names_of(each, regexes)}
    number = metadata_hash(names, turn.known, turn.rack)
    group.topics_seen = turn.topics_version
    if not bump and number == group.metadata_hash:
        return group.epoch
    epoch = group.epoch + 1
    turn.records.append(changes.epoch(group.group_id, epoch, number))
    return epoch


def _await_revocation(group: ConsumerGroup, member: ConsumerMember, turn: ConsumerTurn) -> None:
    """Who must give up partitions has its rebalance timeout for it. Classic members have to join
    again instead."""
    key = ("rebalance", member.member_id)
    if member.classic is None and member.state is MemberState.UNREVOKED_PARTITIONS:
        group.timers.set(key, turn.after(member.rebalance_timeout_ms))
    else:
        group.timers.cancel(key)


def replacing(old: ConsumerMember, member_id: str) -> ConsumerMember:
    """The member that takes the place of a static one under a new id."""
    return replace(old, member_id=member_id, epoch=0, previous_epoch=0)
