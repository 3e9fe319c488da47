"""Holds a topic against its copy: python compare.py <source servers> <target servers> <topic> <partitions>.

Prints the differences as JSON, found with librdkafka and by another way than kafka-bridge's: everything is read, and a record
is known by the name that stands in its value between "id=" and a line feed.
"""

import json
import sys
import time

from confluent_kafka import Consumer, TopicPartition

SOURCE, TARGET, TOPIC, PARTITIONS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
LIMIT_S = 60


def read(servers, partition):
    reader = Consumer({
        "bootstrap.servers": servers,
        "group.id": "compare",
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 100,
    })
    low, _ = reader.get_watermark_offsets(TopicPartition(TOPIC, partition), LIMIT_S)
    reader.assign([TopicPartition(TOPIC, partition, low)])
    records, start = [], time.monotonic()
    while time.monotonic() - start < LIMIT_S:
        message = reader.poll(0.2)
        if message is None:
            continue
        if message.error() is not None:
            break
        records.append(message)
    else:
        raise TimeoutError(f"{servers} {TOPIC}-{partition}")
    reader.close()
    return records


def name(message):
    value = message.value() or b""
    begin = value.find(b"id=")
    return value[begin : value.find(b"\n", begin)]


def contents(message):
    return (message.key(), message.value(), message.headers(), message.timestamp()[1])


found = []
for partition in range(PARTITIONS):
    source, target = read(SOURCE, partition), read(TARGET, partition)
    places = {name(message): index for index, message in enumerate(source)}
    seen, furthest = set(), -1

    def differs(kind, message):
        found.append({"kind": kind, "partition": partition, "offset": message.offset()})

    for message in target:
        place = places.get(name(message))
        if place is None:
            differs("phantom", message)
        elif place in seen:
            differs("doubled", message)
        else:
            seen.add(place)
            if contents(message) != contents(source[place]):
                differs("altered", message)
            if place < furthest:
                differs("reordered", message)
            furthest = max(furthest, place)
    for place, message in enumerate(source):
        if place not in seen:
            differs("missing", message)
print(json.dumps({"differences": found}))
