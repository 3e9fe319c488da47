# shellcheck shell=bash
# The clusters: Kafka 3.9 with ZooKeeper at the source, Kafka 4 with KRaft at the target, mutual TLS on every listener.

TOPIC=orders
PARTITIONS=8
# C1 alone, the serial collector and shared classes halve the time until a broker answers.
JAVA=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto)
HEAP=-Xmx400m
# Short, so that a broker that was killed may come back soon; long enough for a busy machine with few cores.
BROKER_SESSION_MS=4000
START_LIMIT=120

# Of this lab: source-kafka, target-kafka-1, ...
brokers() {
    local count=1
    [ "$1" = source ] || count=$TARGET_NODES
    if [ "$1" = source ]; then echo source-kafka; else seq -f "target-kafka-%g" 1 "$count"; fi
}

zone_of() {
    echo "${1%%-*}"
}

bootstrap() {
    local list
    list=$(brokers "$1" | sed "s/\$/:$PORT/" | tr '\n' ',')
    echo "${list%,}"
}

mint_certificates() {
    local name wanted=()
    for name in $(brokers source) $(brokers target); do wanted+=(--broker "$(zone_of "$name")/$name"); done
    "$CHAOS/../pki/mint.sh" --out "$LAB/pki" --days 30 "${wanted[@]}" --client source/bridge --client target/bridge \
        --client source/producer --client target/stray >"$LAB/logs/mint.log"
}

# tls_properties ZONE NAME: the lines that Kafka's clients and brokers have in common.
tls_properties() {
    cat <<END
ssl.keystore.type=PEM
ssl.keystore.location=$LAB/pki/$1/$2.keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$LAB/pki/$1/ca.pem
END
}

broker_properties() {
    local name=$1 zone replicas min_isr
    zone=$(zone_of "$name")
    replicas=$(brokers "$zone" | wc -l)
    min_isr=$((replicas > 1 ? 2 : 1))
    cat <<END
log.dirs=$LAB/$name/data
advertised.listeners=CLIENT://$name:$PORT
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:SSL,CONTROLLER:SSL
ssl.client.auth=required
num.partitions=$PARTITIONS
default.replication.factor=$replicas
min.insync.replicas=$min_isr
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$min_isr
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
controlled.shutdown.max.retries=1
END
    tls_properties "$zone" "$name"
    if [ "$zone" = source ]; then
        # The load makes its topic by asking for it.
        cat <<END
broker.id=1
listeners=CLIENT://$name:$PORT
auto.create.topics.enable=true
zookeeper.connect=127.0.0.1:2181
zookeeper.session.timeout.ms=$BROKER_SESSION_MS
END
    else
        cat <<END
node.id=${name##*-}
process.roles=broker,controller
listeners=CLIENT://$name:$PORT,CONTROLLER://$name:9193
controller.listener.names=CONTROLLER
controller.quorum.voters=$(brokers target | sed 's/.*-\([0-9]*\)$/\1@&:9193/' | tr '\n' ',' | sed 's/,$//')
auto.create.topics.enable=false
broker.session.timeout.ms=$BROKER_SESSION_MS
broker.heartbeat.interval.ms=500
END
    fi
}

# Writes what each broker reads, and starts them. What serves is another question.
clusters_start() {
    local name formats=() id
    mkdir -p "$LAB/zookeeper"
    cat >"$LAB/zookeeper/zookeeper.properties" <<END
dataDir=$LAB/zookeeper/data
clientPort=2181
clientPortAddress=127.0.0.1
tickTime=500
admin.enableServer=false
END
    for name in $(brokers source) $(brokers target); do
        mkdir -p "$LAB/$name"
        broker_properties "$name" >"$LAB/$name/server.properties"
    done
    # A broker tries to reach ZooKeeper for a while: nobody waits for it here.
    start_process source zookeeper "${JAVA[@]}" "$HEAP" -cp "$(classpath "kafka-$SOURCE_VERSION")" \
        org.apache.zookeeper.server.quorum.QuorumPeerMain "$LAB/zookeeper/zookeeper.properties"
    for name in $(brokers source); do broker_start "$name"; done
    # 22 letters, the first of them no hyphen.
    id="A$(openssl rand -base64 18 | tr '+/' '-_' | cut -c 1-20)A"
    for name in $(brokers target); do
        in_zone target "${JAVA[@]}" -cp "$(classpath "kafka-$TARGET_VERSION")" kafka.tools.StorageTool format -t "$id" \
            -c "$LAB/$name/server.properties" >"$LAB/logs/$name-format.log" 2>&1 &
        formats+=($!)
    done
    for it in "${formats[@]}"; do
        wait "$it" || stop_with "$EXIT_MISSING" "the target's storage cannot be formatted; see $LAB/logs"
    done
    for name in $(brokers target); do broker_start "$name"; done
}

broker_start() {
    local version=$SOURCE_VERSION
    [ "$(zone_of "$1")" = source ] || version=$TARGET_VERSION
    start_process "$(zone_of "$1")" "$1" "${JAVA[@]}" "$HEAP" -Djava.awt.headless=true \
        -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
        -cp "$(classpath "kafka-$version")" kafka.Kafka "$LAB/$1/server.properties"
}

# ZooKeeper knows a killed broker until its session ends, and the broker that finds itself there exits: it is started again.
broker_serves() {
    if is_gone "$1"; then broker_start "$1"; fi
    can_connect "$(zone_of "$1")" "$1"
}

broker_wait() {
    until_true "$START_LIMIT" "$1 serves (its log: $LAB/logs/$1.log)" broker_serves "$1"
}

# kafka_tool ZONE CLASS ARGUMENT...: one of Kafka's own, in a zone.
kafka_tool() {
    local zone=$1
    shift
    in_zone "$zone" "${JAVA[@]}" -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -cp "$(classpath "kafka-tools-$SOURCE_VERSION")" "$@"
}

# Bytes of the topic on the disks of one side. Neither tool nor bridge stands between: this is what is there.
bytes_at() {
    local name total=0 size
    for name in $(brokers "$1"); do
        size=$(find "$LAB/$name/data" -path "*/$TOPIC-*" -name '*.log' -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }')
        total=$((total + size))
    done
    echo "$total"
}

under_replicated() {
    kafka_tool target org.apache.kafka.tools.TopicCommand --bootstrap-server "$(bootstrap target)" \
        --command-config "$LAB/stray.properties" --describe --under-replicated-partitions 2>"$LAB/logs/topics.log"
}
