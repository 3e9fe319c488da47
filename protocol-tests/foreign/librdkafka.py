"""librdkafka against a cluster: python librdkafka.py <bootstrap servers> <case>. Exit code 0 and silence: all well."""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

SERVERS = sys.argv[1]
LIMIT_S = 60


def create(name, partitions=1):
    admin = AdminClient({"bootstrap.servers": SERVERS})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(LIMIT_S)


def producer(transactional_id=None, **more):
    config = {"bootstrap.servers": SERVERS, "enable.idempotence": True, "linger.ms": 1} | more
    if transactional_id:
        config["transactional.id"] = transactional_id
    made = Producer(config)
    if transactional_id:
        made.init_transactions(LIMIT_S)
    return made


def send(made, topic, values, partition=0):
    failed = []
    for value in values:
        made.produce(topic, value=value, partition=partition, on_delivery=lambda error, _: error and failed.append(error))
    assert made.flush(LIMIT_S) == 0, "not all was delivered"
    return failed


def consumer(group, isolation="read_committed", **more):
    return Consumer({
        "bootstrap.servers": SERVERS,
        "group.id": group,
        "isolation.level": isolation,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 500,
        "fetch.wait.max.ms": 100,
    } | more)


def read(topic, count, isolation="read_committed", seconds=LIMIT_S, partition=0):
    """The values from the start; as many as asked for, or those that came in time."""
    reader = consumer("reader", isolation)
    reader.assign([TopicPartition(topic, partition, 0)])
    values, start = [], time.monotonic()
    while len(values) < count and time.monotonic() - start < seconds:
        message = reader.poll(0.1)
        if message is not None and message.error() is None:
            values.append(message.value())
    reader.close()
    return values


def codecs():
    create("codecs")
    expected = []
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
        values = [f"{codec} {index} {'x' * 200}".encode() for index in range(50)]
        made = producer(**{"compression.type": codec})
        assert send(made, "codecs", values) == []
        expected += values
    assert read("codecs", len(expected)) == expected, "what was read is not what was written"


def transactions():
    create("transactions")
    made = producer("writer")
    made.begin_transaction()
    assert send(made, "transactions", [b"committed"]) == []
    made.commit_transaction(LIMIT_S)
    made.begin_transaction()
    assert send(made, "transactions", [b"aborted"]) == []
    made.abort_transaction(LIMIT_S)
    assert send(producer(), "transactions", [b"plain"]) == []
    assert read("transactions", 2) == [b"committed", b"plain"]
    assert read("transactions", 3, "read_uncommitted") == [b"committed", b"aborted", b"plain"]


def last_stable_offset():
    create("stable")
    open_one = producer("open")
    open_one.begin_transaction()
    assert send(open_one, "stable", [b"open"]) == []
    assert send(producer(), "stable", [b"behind"]) == []
    assert read("stable", 1, seconds=2) == [], "an open transaction must hold committed readers back"
    assert read("stable", 2, "read_uncommitted") == [b"open", b"behind"]
    open_one.commit_transaction(LIMIT_S)
    assert read("stable", 2) == [b"open", b"behind"]


def offsets_in_transactions():
    create("input")
    create("output")
    assert send(producer(), "input", [b"1", b"2", b"3"]) == []
    reader = consumer("copier")
    reader.subscribe(["input"])
    taken = []
    start = time.monotonic()
    while len(taken) < 3 and time.monotonic() - start < LIMIT_S:
        message = reader.poll(0.1)
        if message is not None and message.error() is None:
            taken.append(message.value())
    assert len(taken) == 3
    made = producer("copier")
    position = [TopicPartition("input", 0, 3)]
    for commit in [False, True]:
        made.begin_transaction()
        assert send(made, "output", taken) == []
        made.send_offsets_to_transaction(position, reader.consumer_group_metadata(), LIMIT_S)
        if commit:
            made.commit_transaction(LIMIT_S)
        else:
            made.abort_transaction(LIMIT_S)
            found = reader.committed([TopicPartition("input", 0)], LIMIT_S)[0].offset
            assert found < 0, f"an aborted offset is committed: {found}"
    # Offsets alone.
    made.begin_transaction()
    made.send_offsets_to_transaction([TopicPartition("input", 0, 2)], reader.consumer_group_metadata(), LIMIT_S)
    made.commit_transaction(LIMIT_S)
    assert reader.committed([TopicPartition("input", 0)], LIMIT_S)[0].offset == 2
    assert read("output", 3) == taken
    # A member of a generation that is over.
    stale = reader.consumer_group_metadata()
    reader.close()
    made.begin_transaction()
    try:
        made.send_offsets_to_transaction(position, stale, 10)
        raise AssertionError("a stale member's offsets were taken")
    except KafkaException as error:
        assert error.args[0].txn_requires_abort(), error


def zombie():
    create("zombie")
    old = producer("owner")
    old.begin_transaction()
    assert send(old, "zombie", [b"of the old one"]) == []
    new = producer("owner")
    new.begin_transaction()
    assert send(new, "zombie", [b"of the new one"]) == []
    new.commit_transaction(LIMIT_S)
    try:
        old.commit_transaction(LIMIT_S)
        raise AssertionError("a zombie has committed")
    except KafkaException as error:
        assert error.args[0].code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED), error
    assert read("zombie", 1) == [b"of the new one"]


def timeout():
    create("timeout")
    slow = producer("slow", **{"transaction.timeout.ms": 1000, "message.timeout.ms": 900})
    slow.begin_transaction()
    assert send(slow, "timeout", [b"too slow"]) == []
    time.sleep(3)
    assert send(producer(), "timeout", [b"behind"]) == []
    assert read("timeout", 1) == [b"behind"], "a transaction that is over must hold nobody back"
    try:
        slow.commit_transaction(LIMIT_S)
        raise AssertionError("a transaction was committed after its time")
    except KafkaException:
        pass


def group(strategy):
    topic = f"group-{strategy}"
    create(topic, 4)
    for partition in range(4):
        assert send(producer(), topic, [f"{partition}".encode()], partition) == []
    more = {"partition.assignment.strategy": strategy}
    first, second = consumer(topic, **more), consumer(topic, **more)
    first.subscribe([topic])
    seen = set()

    def poll_until(condition, what):
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < LIMIT_S, what
            for member in (first, second):
                message = member.poll(0.05)
                if message is not None and message.error() is None:
                    seen.add(message.value())

    start = time.monotonic()
    while len(first.assignment()) < 4:
        assert time.monotonic() - start < LIMIT_S, "the first member never had everything"
        message = first.poll(0.05)
        if message is not None and message.error() is None:
            seen.add(message.value())
    second.subscribe([topic])
    poll_until(lambda: len(first.assignment()) == len(second.assignment()) == 2, "the partitions were never shared")
    poll_until(lambda: len(seen) == 4, "not everything was read")
    second.close()
    start = time.monotonic()
    while len(first.assignment()) < 4:
        assert time.monotonic() - start < LIMIT_S, "what the second had never came back"
        first.poll(0.05)
    first.close()


CASES = {
    "codecs": codecs,
    "transactions": transactions,
    "last_stable_offset": last_stable_offset,
    "offsets_in_transactions": offsets_in_transactions,
    "zombie": zombie,
    "timeout": timeout,
    "range_group": lambda: group("range"),
    "cooperative_group": lambda: group("cooperative-sticky"),
}
CASES[sys.argv[2]]()
