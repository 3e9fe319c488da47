"""kafka-python against a cluster: python kafka_python.py <bootstrap servers> <case>. Exit code 0: all well."""

import sys
import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import RebalanceInProgressError

SERVERS = sys.argv[1].split(",")
LIMIT_MS = 30_000


def create(name, partitions=1):
    admin = KafkaAdminClient(bootstrap_servers=SERVERS)
    admin.create_topics([NewTopic(name, partitions, 1)])
    admin.close()


def read(topic, isolation, count):
    reader = KafkaConsumer(
        bootstrap_servers=SERVERS,
        isolation_level=isolation,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=LIMIT_MS if count else 2_000,
    )
    partition = TopicPartition(topic, 0)
    reader.assign([partition])
    reader.seek(partition, 0)
    values = []
    for message in reader:
        values.append(message.value)
        if count and len(values) == count:
            break
    reader.close()
    return values


def codecs():
    create("codecs")
    expected = []
    for codec in [None, "gzip", "snappy", "lz4", "zstd"]:
        made = KafkaProducer(bootstrap_servers=SERVERS, compression_type=codec, acks="all")
        values = [f"{codec} {index} {'x' * 200}".encode() for index in range(50)]
        for value in values:
            made.send("codecs", value=value, partition=0).get(LIMIT_MS / 1000)
        made.close()
        expected += values
    assert read("codecs", "read_committed", len(expected)) == expected


def transactions():
    create("transactions")
    made = KafkaProducer(bootstrap_servers=SERVERS, transactional_id="writer")
    made.init_transactions()
    for value, commit in [(b"committed", True), (b"aborted", False), (b"committed too", True)]:
        made.begin_transaction()
        made.send("transactions", value=value, partition=0).get(LIMIT_MS / 1000)
        if commit:
            made.commit_transaction()
        else:
            made.abort_transaction()
    made.close()
    assert read("transactions", "read_committed", 2) == [b"committed", b"committed too"]
    assert len(read("transactions", "read_uncommitted", 3)) == 3


def group():
    create("group", 4)
    made = KafkaProducer(bootstrap_servers=SERVERS)
    for partition in range(4):
        made.send("group", value=str(partition).encode(), partition=partition)
    made.flush(LIMIT_MS / 1000)
    members = [
        KafkaConsumer(
            "group",
            bootstrap_servers=SERVERS,
            group_id="group",
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
        )
        for _ in range(2)
    ]
    seen, start = set(), time.monotonic()
    while len(seen) < 4 or any(len(member.assignment()) != 2 for member in members):
        assert time.monotonic() - start < LIMIT_MS / 1000, "the partitions were never shared and read"
        for member in members:
            for messages in member.poll(timeout_ms=100).values():
                seen.update(message.value for message in messages)
    # A member that has its partitions may stand in a further rebalance all the same: that one ends while both poll.
    waiting = list(members)
    while waiting:
        assert time.monotonic() - start < LIMIT_MS / 1000, "the offsets were never committed"
        try:
            waiting[0].commit()
            waiting.pop(0)
        except RebalanceInProgressError:
            for member in members:
                member.poll(timeout_ms=100)
    for member in members:
        member.close()


{"codecs": codecs, "transactions": transactions, "group": group}[sys.argv[2]]()
