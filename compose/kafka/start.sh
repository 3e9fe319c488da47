#!/bin/bash
# Starts one process of a Kafka cluster: zookeeper, broker (with ZooKeeper), kraft (broker and controller), or topic (makes one).
set -euo pipefail

role=${1:?zookeeper, broker, kraft or topic?}
# This host's name in its network, which its certificate has.
name=${NODE_NAME:?}
properties=/tmp/server.properties
# C1 alone, the serial collector and shared classes halve the time until a broker answers.
java=(java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -XX:-UsePerfData "-Xmx${HEAP:-400m}"
    -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.showDateTime=true
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS" -cp "/opt/kafka/jars/*")

tls_properties() {
    cat <<END
$1ssl.keystore.type=PEM
$1ssl.keystore.location=/pki/$2.keystore.pem
$1ssl.truststore.type=PEM
$1ssl.truststore.location=/pki/ca.pem
END
}

zookeeper_properties() {
    cat <<END
dataDir=/data/zookeeper
secureClientPort=2182
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
ssl.keyStore.location=/pki/$name.keystore.pem
ssl.trustStore.location=/pki/ca.pem
ssl.clientAuth=need
tickTime=500
autopurge.purgeInterval=1
admin.enableServer=false
END
}

broker_properties() {
    cat <<END
log.dirs=/data/kafka
advertised.listeners=CLIENT://$name:9093
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:SSL,CONTROLLER:SSL
ssl.client.auth=required
auto.create.topics.enable=false
num.partitions=${PARTITIONS:-8}
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
controlled.shutdown.max.retries=1
END
    tls_properties "" "$name"
    if [ "$role" = broker ]; then
        cat <<END
broker.id=1
listeners=CLIENT://$name:9093
zookeeper.connect=${ZOOKEEPER:?}:2182
zookeeper.session.timeout.ms=4000
zookeeper.connection.timeout.ms=60000
zookeeper.ssl.client.enable=true
zookeeper.clientCnxnSocket=org.apache.zookeeper.ClientCnxnSocketNetty
END
        tls_properties zookeeper. "$name"
    else
        cat <<END
node.id=1
process.roles=broker,controller
listeners=CLIENT://$name:9093,CONTROLLER://$name:9193
controller.listener.names=CONTROLLER
controller.quorum.voters=1@$name:9193
END
    fi
}

# Nobody runs as a user that has a home here.
export HOME=/tmp
case $role in
    zookeeper)
        zookeeper_properties >"$properties"
        exec "${java[@]}" org.apache.zookeeper.server.quorum.QuorumPeerMain "$properties"
        ;;
    broker)
        broker_properties >"$properties"
        exec "${java[@]}" kafka.Kafka "$properties"
        ;;
    kraft)
        broker_properties >"$properties"
        if [ ! -e /data/kafka/meta.properties ]; then
            # 22 letters of URL-safe base64, the first of them no hyphen.
            id="A$(head -c 15 /dev/urandom | base64 | tr '+/' '-_')A"
            "${java[@]}" kafka.tools.StorageTool format -t "$id" -c "$properties"
        fi
        exec "${java[@]}" kafka.Kafka "$properties"
        ;;
    topic)
        {
            echo "security.protocol=SSL"
            tls_properties "" "$name"
        } >"$properties"
        shift
        exec "${java[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn org.apache.kafka.tools.TopicCommand \
            --command-config "$properties" "$@"
        ;;
    *)
        echo "start.sh: what is $role?" >&2
        exit 2
        ;;
esac
