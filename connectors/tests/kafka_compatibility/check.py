"""A client of Kafka that nobody here wrote, and that is no librdkafka, writes records for Lotic to read and reads
those that Lotic writes.

    check.py produce BROKERS TOPIC            writes records in all codecs, some of them in transactions
    check.py consume BROKERS TOPIC ISOLATION  reads the topic to its end

Both print the records, each as a line of JSON; of `produce` those that a reader of committed records sees.
Bytes are in hexadecimal.
"""

import json
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def text(data):
    return None if data is None else data.hex()


def show(partition, offset, timestamp, kind, key, value, headers):
    row = {"partition": partition, "offset": offset, "timestamp": timestamp, "timestampType": kind}
    row |= {"key": text(key), "value": text(value), "headers": [[name, text(value)] for name, value in headers]}
    print(json.dumps(row, sort_keys=True))


def records(codec):
    """Partition, key, value, headers, timestamp."""
    for number in range(40):
        key = None if number % 3 == 0 else b"" if number % 7 == 0 else b"key-%d" % number
        # It refuses to send neither key nor value.
        value = None if key is not None and number % 5 == 0 else bytes(range(256)) if number % 11 == 0 else b"value-%d" % number * number
        headers = [("codec", str(codec).encode()), ("empty", b""), ("ação", b"\xff"), ("codec", b"again")]
        yield number % 2, key, value, headers if number % 2 else [], 1_700_000_000_000 + number


def produce(brokers, topic):
    for codec in CODECS:
        producer = KafkaProducer(bootstrap_servers=brokers, compression_type=codec, linger_ms=20, acks="all")
        send(producer, topic, codec)
        producer.close()
    producer = KafkaProducer(bootstrap_servers=brokers, transactional_id=f"{topic}-python", compression_type="lz4")
    producer.init_transactions()
    for ending in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        send(producer, topic, ending.__name__, ending == producer.commit_transaction)
        ending()
    producer.close()


def send(producer, topic, codec, shown=True):
    sent = []
    for partition, key, value, headers, timestamp in records(codec):
        future = producer.send(
            topic, value=value, key=key, headers=headers, partition=partition, timestamp_ms=timestamp
        )
        sent.append((future, partition, key, value, headers, timestamp))
    producer.flush()
    for future, partition, key, value, headers, timestamp in sent:
        offset = future.get(timeout=60).offset
        if shown:
            show(partition, offset, timestamp, 0, key, value, headers)


def consume(brokers, topic, isolation):
    consumer = KafkaConsumer(
        bootstrap_servers=brokers, isolation_level=isolation, auto_offset_reset="earliest", enable_auto_commit=False
    )
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for found in consumer.poll(timeout_ms=1000).values():
            for row in found:
                show(row.partition, row.offset, row.timestamp, row.timestamp_type, row.key, row.value, row.headers)
    consumer.close()


if __name__ == "__main__":
    {"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
