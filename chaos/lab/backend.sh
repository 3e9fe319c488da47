# shellcheck shell=bash
# The lab as the scripts use it. Another place to run the same faults in has the same functions:
#
#   backend_up, backend_attach, backend_detach CODE, backend_down     all of it; LAB is its folder
#   network_is_isolated, can_connect ZONE HOST
#   network_cut DIRECTION..., network_heal, packets cut DIRECTION
#   brokers SIDE, broker_start NAME, broker_wait NAME, bytes_at SIDE, under_replicated
#   bridge_start NAME, log_of NAME, lanes_of NAME, lanes_are_shared NAME..., link_command, link_mark, link_has_reached, link_is_caught_up
#   load_start, load_stop, stray_record
#   pid_of NAME, state_of NAME, is_gone NAME, signal_process NAME SIGNAL

# shellcheck source=chaos/lab/requirements.sh
. "$CHAOS/lab/requirements.sh"
# shellcheck source=chaos/lab/process.sh
. "$CHAOS/lab/process.sh"
# shellcheck source=chaos/lab/network.sh
. "$CHAOS/lab/network.sh"
# shellcheck source=chaos/lab/kafka.sh
. "$CHAOS/lab/kafka.sh"
# shellcheck source=chaos/lab/load.sh
. "$CHAOS/lab/load.sh"
# shellcheck source=chaos/lab/link.sh
. "$CHAOS/lab/link.sh"

LAB=""
TARGET_NODES=1
# yes: this machine reaches the bridges' consoles.
CONSOLES=no

# Makes the folder first: from then on backend_down finds everything.
backend_up() {
    local binary name
    require_machine
    binary=$(bridge_binary)
    fetch_jars
    LAB=$(mktemp -d "${TMPDIR:-/tmp}/kafka-bridge-lab.XXXXXX")
    mkdir "$LAB/logs" "$LAB/pids"
    echo "$binary" >"$LAB/bridge-binary"
    echo "$TARGET_NODES" >"$LAB/target-nodes"
    say "lab in $LAB: Kafka $SOURCE_VERSION with ZooKeeper | two bridges | Kafka $TARGET_VERSION with KRaft, $TARGET_NODES broker(s)"
    mint_certificates
    network_up
    load_configure
    link_configure
    clusters_start
    for name in $(brokers source) $(brokers target); do broker_wait "$name"; done
    say "both clusters serve, with mutual TLS and an authority each"
    load_start
    network_is_isolated
    until_true "$START_LIMIT" "the load writes (its log: $LAB/logs/load.log)" is_written
    for name in "${BRIDGES[@]}"; do bridge_start "$name"; done
    until_true "$START_LIMIT" "two bridges share the lanes (their logs: $LAB/logs)" lanes_are_shared "${BRIDGES[@]}"
    until_true "$START_LIMIT" "records are copied" is_copied
    say "two bridges share the lanes ($(lanes_of bridge-1) and $(lanes_of bridge-2)), records flow"
}

is_written() {
    [ "$(bytes_at source)" -gt 0 ]
}

is_copied() {
    [ "$(bytes_at target)" -gt 0 ]
}

# To a lab that another script has started.
backend_attach() {
    [ -e "$1/target-nodes" ] || wrong_usage "--lab $1: there is no lab"
    LAB=$(realpath "$1")
    TARGET_NODES=$(<"$LAB/target-nodes")
}

# Somebody else's: it stays as it is.
backend_detach() {
    :
}

# backend_down KEEP: stops all of it; its folder stays when KEEP is yes.
backend_down() {
    [ -n "$LAB" ] || return 0
    network_down
    if [ "$1" = yes ]; then
        echo "logs and data are kept in $LAB" >&2
    else
        rm -rf "$LAB"
    fi
}
