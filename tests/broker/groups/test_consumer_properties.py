"""Consumer groups under random joins, leaves, crashes, lost answers, topic changes and restarts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flowstream.broker.groups.consumer_group import ConsumerState
from tests.broker.groups.consumer_story import INTERVAL_MS, Client, Consumers

SUBSCRIPTIONS: tuple[dict[str, object], ...] = (
    {"subscribed_topic_names": ("t",)},
    {"subscribed_topic_names": ("t", "u")},
    {"subscribed_topic_names": ("u",), "server_assignor": "range"},
    {"subscribed_topic_regex": "t|new.*"},
)
MEMBERS = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), MEMBERS, st.integers(0, len(SUBSCRIPTIONS) - 1)),
        st.tuples(st.just("beat"), MEMBERS),
        st.tuples(st.just("deaf"), MEMBERS),
        st.tuples(st.just("slow"), MEMBERS),
        st.tuples(st.just("leave"), MEMBERS),
        st.tuples(st.just("crash"), MEMBERS),
        st.tuples(st.just("subscribe"), MEMBERS, st.integers(0, len(SUBSCRIPTIONS) - 1)),
        st.tuples(st.just("wait"), st.sampled_from([100, 1_500, 5_000, 21_000, 46_000])),
        st.tuples(st.just("topics"), st.sampled_from(["t", "u", "new1"]), st.integers(0, 6)),
        st.tuples(st.just("restart")),
    ),
    min_size=8,
    max_size=40,
)


class World:
    """A group and its clients; a crashed one stops talking and works on."""

    def __init__(self) -> None:
        self.broker = Consumers()
        self.broker.create("t", 4)
        self.broker.create("u", 2)
        self.clients: dict[int, Client] = {}
        self.zombies: list[Client] = []
        self.born = 0

    def act(self, step: tuple[object, ...]) -> None:
        match step:
            case ("join", int(number), int(choice)):
                if number not in self.clients:
                    self.born += 1
                    self.clients[number] = Client(self.broker, self.born, **SUBSCRIPTIONS[choice])
                    self.clients[number].join()
            case ("beat" | "deaf" | "slow" as how, int(number)):
                if number in self.clients:
                    self.clients[number].beat(deaf=how == "deaf", slow=how == "slow")
            case ("leave", int(number)):
                if number in self.clients:
                    self.clients.pop(number).leave()
            case ("crash", int(number)):
                if number in self.clients:
                    self.zombies.append(self.clients.pop(number))
            case ("subscribe", int(number), int(choice)):
                if number in self.clients:
                    client = self.clients[number]
                    names = SUBSCRIPTIONS[choice].get("subscribed_topic_names", ())
                    regex = SUBSCRIPTIONS[choice].get("subscribed_topic_regex", "")
                    client.said = {"subscribed_topic_names": names, "subscribed_topic_regex": regex}
                    if client.in_group:
                        client._heard(self.broker.beat(client.name, client.epoch, **client.said))
            case ("wait", int(milliseconds)):
                self.broker.wait(milliseconds)
            case ("topics", str(name), int(size)):
                known = self.broker.known.topics.get(name)
                if size == 0 and known is not None:
                    self.broker.delete(name)
                elif known is None or len(known.partitions) < size:
                    self.broker.create(name, max(size, 1))
            case ("restart",):
                self.broker.restart()

    def check(self) -> None:
        broker = self.broker
        assert broker.replayed().durable() == broker.core.durable()
        group = broker.core.consumers.get("g")
        if group is None:
            return
        has = [(t, p) for each in group.members.values() for t, p, _ in each.owned()]
        assert len(has) == len(set(has)), "G4: one member has a partition"
        assert set(has) == set(group.owners)
        everyone = [*self.clients.values(), *self.zombies]
        for topic_id, partition in {each for c in everyone for each in c.partitions()}:
            topic = broker.known.topics_by_id.get(topic_id)
            if topic is None or partition >= len(topic.partitions):
                continue
            able = [
                c.name
                for c in everyone
                if (topic_id, partition) in c.partitions()
                and broker.commit_as(c.name, c.epoch, topic.name, partition) == 0
            ]
            assert len(able) <= 1, f"G4: {able} can commit {topic.name}-{partition}"

    def settle(self) -> None:
        """Faults are over: every live member sends its heartbeats."""
        for _ in range(25):
            for client in self.clients.values():
                client.beat()
                self.check()
            self.broker.wait(INTERVAL_MS)

    def check_settled(self) -> None:
        group = self.broker.consumer()
        assert group.state is ConsumerState.STABLE
        assert set(group.members) == {each.name for each in self.clients.values()}
        topics = self.broker.known.topics
        read = {name: topic for name, topic in topics.items() if group.is_subscribed(name)}
        wanted = {(t.topic_id, p) for t in read.values() for p in t.partitions}
        owned = [each for client in self.clients.values() for each in client.partitions()]
        assert sorted(owned) == sorted(wanted), "G7: every partition is owned, once"


@settings(max_examples=120, deadline=None)
@given(steps=STEPS)
def test_G4_G5_G7_one_owner_always_and_all_owned_in_the_end(
    steps: list[tuple[object, ...]],
) -> None:
    world = World()
    for step in steps:
        world.act(step if isinstance(step, tuple) else (step,))
        world.check()
    world.settle()
    if world.clients:
        world.check_settled()
