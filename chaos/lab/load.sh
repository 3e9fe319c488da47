# shellcheck shell=bash
# What is copied: Kafka's own performance producer, in transactions, until it is told to stop.

# The copy is watched while it runs; a machine with two cores that runs all of the lab is busy with more.
RECORDS_PER_SECOND=400
RECORD_BYTES=200
# Longer than a broker is away: or each restart of the source would abort a transaction and end the producer.
TRANSACTION_TIMEOUT_MS=40000

load_configure() {
    {
        echo "security.protocol=SSL"
        tls_properties source producer
        # Without keys, records go to one partition until a batch is full: small batches keep all partitions moving.
        echo "batch.size=4096"
        echo "transaction.timeout.ms=$TRANSACTION_TIMEOUT_MS"
    } >"$LAB/load.properties"
    {
        echo "security.protocol=SSL"
        tls_properties target stray
    } >"$LAB/stray.properties"
}

# For a shell: the producer but for the number of records.
producer_command() {
    echo "${JAVA[@]}" -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -cp "'$(classpath "kafka-tools-$SOURCE_VERSION")'" org.apache.kafka.tools.ProducerPerformance --topic "$TOPIC" \
        --record-size "$RECORD_BYTES" --throughput "$RECORDS_PER_SECOND" --producer-props \
        "bootstrap.servers=$(bootstrap source)" --producer.config "$LAB/load.properties" \
        --transactional-id load --transaction-duration-ms 100
}

# A producer gives up for good when a transaction of it was aborted by the coordinator; then another one begins.
load_start() {
    start_process source load bash -c "while :; do $(producer_command) --num-records 1000000000; sleep 1; done"
}

# Killed in the middle of a transaction: its records are at the source, aborted, and must not be at the target. The last
# producer has the same transactional id, so that the open transaction ends at once and not by its timeout.
load_stop() {
    kill_session load
    attend in_zone source bash -c "$(producer_command) --num-records 1" >>"$LAB/logs/load.log" 2>&1 ||
        stop_with "$EXIT_DIFFERENT" "the load's last record cannot be written; see $LAB/logs/load.log"
}

# One that the bridge did not write.
stray_record() {
    attend kafka_tool target org.apache.kafka.tools.ProducerPerformance --topic "$TOPIC" --num-records 1 --record-size 50 \
        --throughput -1 --producer-props "bootstrap.servers=$(bootstrap target)" --producer.config "$LAB/stray.properties" \
        >>"$LAB/logs/stray.log" 2>&1
}
