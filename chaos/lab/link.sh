# shellcheck shell=bash
# The bridges, and what the link says of itself.

LINK=lab
LANES=8
BRIDGES=(bridge-1 bridge-2)
# The bridges' own default; a fault that is to outlast it must know it.
SESSION_SECONDS=6

link_configure() {
    local weak="" console=""
    if [ "$CONSOLES" = yes ]; then
        # By the name that it has in the bridge zone. Browsers know it by its address.
        console="[console]
listen = \"\${LAB_BRIDGE}:$CONSOLE_PORT\"
hosts = [\"$(console_address bridge-1)\", \"$(console_address bridge-2)\"]
allow_public = true"
    fi
    # One broker, one replica: run refuses that unless it is accepted by name.
    [ "$TARGET_NODES" -gt 1 ] || weak='accept_weak = ["target_min_insync_replicas"]'
    cat >"$LAB/bridge.toml" <<END
link = "$LINK"

[source]
bootstrap_servers = ["$(bootstrap source | sed 's/,/", "/g')"]
[source.tls]
ca_file = "pki/source/ca.pem"
cert_file = "pki/source/bridge.pem"
key_file = "pki/source/bridge.key"

[target]
bootstrap_servers = ["$(bootstrap target | sed 's/,/", "/g')"]
replication_factor = $TARGET_NODES
[target.tls]
ca_file = "pki/target/ca.pem"
cert_file = "pki/target/bridge.pem"
key_file = "pki/target/bridge.key"

[[topics]]
include = ["$TOPIC"]

[delivery]
lanes = $LANES
sharing = "group"
instance_id = "\${LAB_BRIDGE}"
session_timeout_ms = ${SESSION_SECONDS}000
$weak

$console
END
}

bridge_start() {
    # What a process said that is no more is not its successor's word.
    echo "-- a new process" >>"$LAB/logs/$1.log"
    start_process bridge "$1" env "LAB_BRIDGE=$1" "$(<"$LAB/bridge-binary")" run --config "$LAB/bridge.toml"
}

# The lanes that a bridge says last it works, as 0,3,5.
lanes_of() {
    sed -n 's/.*now works lanes \([0-9,]*\) of .*/\1/p; s/.*stands by: no lane.*//p; s/.*all lanes are given up.*//p; s/^-- a new process$//p' \
        "$(log_of "$1")" 2>/dev/null | tail -n 1
}

count_lanes() {
    local lanes=()
    IFS=, read -ra lanes <<<"$1"
    echo ${#lanes[@]}
}

# True when these together work every lane, each once, and none works two more than another.
lanes_are_shared() {
    local it all="" least=$LANES most=0 count
    for it in "$@"; do
        if is_gone "$it"; then
            say "FAILED: $it has ended: $(tail -n 1 "$(log_of "$it")")"
            exit "$EXIT_DIFFERENT"
        fi
        all+=",$(lanes_of "$it")"
        count=$(count_lanes "$(lanes_of "$it")")
        least=$((count < least ? count : least)) most=$((count > most ? count : most))
    done
    [ "$(tr ',' '\n' <<<"$all" | sed '/^$/d' | sort -n | tr '\n' ' ')" = "$(seq -s ' ' 0 $((LANES - 1))) " ] &&
        ((most - least <= 1))
}

# kafka-bridge with a command that takes the link's configuration, in the bridge zone.
link_command() {
    local binary command=$1
    binary=$(<"$LAB/bridge-binary")
    shift
    in_zone bridge env LAB_BRIDGE=lab "$binary" "$command" --config "$LAB/bridge.toml" "$@"
}

# Per partition its name, the next offset that is copied, and the source's last stable offset. Fails when not all are known.
link_positions() {
    attend link_command positions >"$LAB/logs/positions.txt" 2>"$LAB/logs/positions.err" || return 1
    awk -v topic="^$TOPIC-" '$1 ~ topic {
        for (at = 2; at < NF; at++) { if ($at == "next") next_offset = $(at + 1); if ($at == "end") end = $(at + 1) }
        print $1, next_offset, end
    }' "$LAB/logs/positions.txt" >"$LAB/positions"
    [ "$(wc -l <"$LAB/positions")" = "$PARTITIONS" ] && ! grep -q unknown "$LAB/positions"
}

# Where the source ends now, for link_has_reached.
link_mark() {
    link_positions && cp "$LAB/positions" "$LAB/mark"
}

# What the source held at the mark is copied.
link_has_reached() {
    link_positions && join "$LAB/mark" "$LAB/positions" | awk '$4 < $3 { behind = 1 } END { exit behind }'
}

# What the source holds now is copied.
link_is_caught_up() {
    link_positions && awk '$2 < $3 { behind = 1 } END { exit behind }' "$LAB/positions"
}
