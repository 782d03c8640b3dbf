import random
import sys

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, total = sys.argv[1], int(sys.argv[2])
admin = AdminClient({"bootstrap.servers": bootstrap})
topics = ("events", "counts", "users")
for topic, future in admin.create_topics([NewTopic(t, 4, 1) for t in topics]).items():
    try:
        future.result()
    except KafkaException as error:
        print(topic, error)
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "linger.ms": 20,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": 1_000_000,
    }
)
rng = random.Random(1)
for number in range(10_000):
    producer.produce("users", b'{"country": "c-%02d"}' % (number % 40), f"user-{number:05d}")
for i in range(total):
    user = f"user-{rng.randrange(10_000):05d}"
    value = b'{"id": %8d, "user": "%s", "amount": %7.2f, "merchant": "m-%04d", "ts": %d}' % (
        i,
        user.encode(),
        rng.random() * 1000,
        rng.randrange(1000),
        1_700_000_000 + i,
    )
    while True:
        try:
            producer.produce("events", value, user)
            break
        except BufferError:
            producer.poll(0.05)
producer.flush()
print(total, "events")
