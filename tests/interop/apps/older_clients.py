"""What an older client does, run in an environment of its own: `older_clients.py CLIENT ADDRESS
TOPIC [PROTOCOL MECHANISM USER PASSWORD CA]`. It makes a topic, writes a hundred records, reads them
in a group and commits; then a transaction, where the client has them. Prints what it read.
"""

import asyncio
import ssl
import sys

RECORDS = 100
client, address, topic, *login = sys.argv[1:]
protocol, mechanism, user, password, ca = login or ("PLAINTEXT", "", "", "", "")
values = [b"%d" % number for number in range(RECORDS)]


def with_kafka_python():
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import NewTopic

    options = {"bootstrap_servers": address}
    if login:
        options |= {
            "security_protocol": protocol,
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": password,
            "ssl_cafile": ca,
        }
    admin = KafkaAdminClient(**options)
    admin.create_topics([NewTopic(topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(**options)
    sent = [producer.send(topic, value) for value in values]
    assert [each.get(10).offset for each in sent] == list(range(RECORDS))
    producer.close()
    consumer = KafkaConsumer(
        topic, group_id=f"{topic}-group", auto_offset_reset="earliest", **options
    )
    read = [next(consumer).value for _ in values]
    consumer.commit()
    consumer.close()
    return read


def with_confluent_kafka():
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    options = {"bootstrap.servers": address}
    if login:
        options |= {
            "security.protocol": protocol,
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
            "ssl.ca.location": ca,
        }
    admin = AdminClient(options)
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    producer = Producer({**options, "transactional.id": topic})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(10)
    producer.abort_transaction(10)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.commit_transaction(10)
    consumer = Consumer({**options, "group.id": f"{topic}-group", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    read = []
    while len(read) < RECORDS:
        message = consumer.poll(10)
        assert message is not None
        assert message.error() is None, message.error()
        read.append(message.value())
    consumer.commit(asynchronous=False)
    consumer.close()
    return read


async def with_aiokafka():
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    options = {"bootstrap_servers": address}
    if login:
        context = ssl.create_default_context(cafile=ca) if protocol == "SASL_SSL" else None
        options |= {
            "security_protocol": protocol,
            "sasl_mechanism": mechanism,
            "sasl_plain_username": user,
            "sasl_plain_password": password,
            "ssl_context": context,
        }
    producer = AIOKafkaProducer(transactional_id=topic, **options)
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            for value in values:
                await producer.send(topic, value)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(
        topic,
        group_id=f"{topic}-group",
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        enable_auto_commit=False,
        **options,
    )
    await consumer.start()
    try:
        read = [(await consumer.getone()).value for _ in values]
        await consumer.commit()
    finally:
        await consumer.stop()
    return read


found = {
    "kafka-python": with_kafka_python,
    "confluent-kafka": with_confluent_kafka,
    "aiokafka": lambda: asyncio.run(with_aiokafka()),
}[client]()
assert found == values, found
print(len(found), "records")
