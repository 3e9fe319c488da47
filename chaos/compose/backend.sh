# shellcheck shell=bash
# The compose project as the scripts use it, with the functions of lab/backend.sh. It runs before and after: nothing is built here and
# nothing taken down.

# shellcheck source=compose/lib.sh
. "$CHAOS/../compose/lib.sh"
# What bridges say of themselves is the same in containers.
# shellcheck source=chaos/lab/link.sh
. "$CHAOS/lab/link.sh"

LAB=""
# shellcheck disable=SC2034  # The scripts and link.sh read them.
TARGET_NODES=1 TOPIC=orders PARTITIONS=8 LANES=8
PORT=9093
# Long enough for a machine that is busy, and no packet gets through a cut however long one waits.
CONNECT_LIMIT=3
START_LIMIT=120
PROJECT=$(project)
# The last known, by service: a container that is down has none.
declare -A ADDRESSES=()

project_is_up() {
    command -v docker >/dev/null && container bridge-1 >/dev/null 2>&1
}

backend_up() {
    backend_attach
}

# To the project that runs. LAB is a folder for what is asked of it.
backend_attach() {
    require_machine
    project_is_up || stop_with "$EXIT_MISSING" "the compose project $PROJECT does not run: compose/up starts it"
    ATTACHED=yes
    LAB=$(mktemp -d "${TMPDIR:-/tmp}/kafka-bridge-compose.XXXXXX")
    mkdir "$LAB/logs"
    say "on the compose project $PROJECT"
    "$CHAOS/../compose/isolated.sh"
    until_true "$START_LIMIT" "two bridges share the lanes" lanes_are_shared "${BRIDGES[@]}"
    LOAD_BYTES=$(bytes_at source)
    until_true "$START_LIMIT" "the producer writes" writes_again
    say "two bridges share the lanes ($(lanes_of bridge-1) and $(lanes_of bridge-2)), records flow"
}

# What a fault has left behind is mended; the project goes on.
backend_detach() {
    local it
    for it in source-kafka target-kafka "${BRIDGES[@]}" producer; do
        if is_gone "$it"; then docker start "$(container "$it")" >/dev/null || true; fi
    done
    if [ "$1" = 0 ]; then rm -rf "$LAB"; else echo "what was asked of the project is kept in $LAB" >&2; fi
}

require_machine() {
    local missing=() packages=() it
    [ "$(id -u)" = 0 ] || stop_with "$EXIT_MISSING" "packets are dropped in the containers' networks: run it as root (sudo $0)"
    for it in docker:docker.io nft:nftables nsenter:util-linux ip:iproute2; do
        command -v "${it%%:*}" >/dev/null || missing+=("${it%%:*}") packages+=("${it#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || stop_with "$EXIT_MISSING" "missing: ${missing[*]} (Debian: apt-get install ${packages[*]})"
}

# ---- processes

# Of the container's first process, as this machine numbers it.
pid_of() {
    local pid
    pid=$(docker inspect --format '{{if .State.Running}}{{.State.Pid}}{{end}}' "$(container "$1")" 2>/dev/null) &&
        [ -n "$pid" ] && [ "$pid" != 0 ] && echo "$pid"
}

is_gone() {
    ! pid_of "$1" >/dev/null
}

state_of() {
    local pid
    pid=$(pid_of "$1") && sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status"
}

# By the engine, where the process is to end: else it would start it again. A process that is to stop and go on is no matter of it.
signal_process() {
    local pid
    pid=$(pid_of "$1") || stop_with "$EXIT_DIFFERENT" "$1 does not run any more; see docker logs $(container "$1")"
    case $2 in
        STOP | CONT) kill -s "$2" "$pid" ;;
        *) docker kill --signal "$2" "$(container "$1")" >/dev/null ;;
    esac
}

# What the process says that runs now, or ran last.
log_of() {
    local id
    id=$(container "$1")
    docker logs --since "$(docker inspect --format '{{.State.StartedAt}}' "$id")" "$id" >"$LAB/logs/$1.log" 2>&1
    echo "$LAB/logs/$1.log"
}

# ---- networks

zone_of() {
    echo "${1%%-*}"
}

# address SERVICE ZONE
address() {
    docker inspect --format "{{with index .NetworkSettings.Networks \"${PROJECT}_$2\"}}{{.IPAddress}}{{end}}" "$(container "$1")"
}

# in_network_of SERVICE COMMAND...
in_network_of() {
    local pid
    pid=$(pid_of "$1") || return 1
    shift
    nsenter --target "$pid" --net "$@"
}

# can_connect ZONE HOST: to Kafka's port, from any bridge, or from the broker itself. Where it was last, if it is down.
can_connect() {
    local from=("$2") it now
    [ "$1" != bridge ] || from=("${BRIDGES[@]}")
    now=$(address "$2" "$(zone_of "$2")")
    if [ -n "$now" ]; then ADDRESSES[$2]=$now; fi
    for it in "${from[@]}"; do
        ! in_network_of "$it" timeout "$CONNECT_LIMIT" bash -c "exec 3<>/dev/tcp/${ADDRESSES[$2]:-$2}/$PORT" 2>/dev/null || return 0
    done
    return 1
}

cannot_connect() {
    ! can_connect "$@"
}

# The interface of a bridge in a zone.
interface() {
    in_network_of "$1" ip -o -4 address show | awk -v address="$(address "$1" "$2")/" 'index($4, address) == 1 { print $2 }'
}

# packets TABLE COUNTER: of both bridges.
packets() {
    local it
    for it in "${BRIDGES[@]}"; do in_network_of "$it" nft list counter inet "$1" "$2" 2>/dev/null; done |
        sed -n 's/.*packets \([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}

# network_cut DIRECTION...: as the lab does, in the network of each bridge.
network_cut() {
    local it direction rules_in rules_out counters
    for it in "${BRIDGES[@]}"; do
        rules_in="" rules_out="" counters=""
        for direction in "$@"; do
            counters+="counter $direction { }"$'\n'
            case $direction in
                from_*) rules_in+="iifname \"$(interface "$it" "${direction#*_}")\" counter name \"$direction\" drop"$'\n' ;;
                to_*) rules_out+="oifname \"$(interface "$it" "${direction#*_}")\" counter name \"$direction\" drop"$'\n' ;;
            esac
        done
        in_network_of "$it" nft -f - <<END
table inet cut {
    $counters
    chain in { type filter hook input priority -10; $rules_in }
    chain out { type filter hook output priority -10; $rules_out }
}
END
    done
}

network_heal() {
    local it
    for it in "${BRIDGES[@]}"; do in_network_of "$it" nft delete table inet cut 2>/dev/null || true; done
}

# ---- clusters

brokers() {
    echo "$1-kafka"
}

broker_start() {
    docker start "$(container "$1")" >/dev/null
}

# ZooKeeper knows a killed broker until its session ends; the broker that finds itself there exits, and is started again.
broker_serves() {
    if is_gone "$1"; then broker_start "$1"; fi
    can_connect "$(zone_of "$1")" "$1"
}

broker_wait() {
    until_true "$START_LIMIT" "$1 serves" broker_serves "$1"
}

# Of the topic, in the broker's volume: neither tool nor bridge stands between.
bytes_at() {
    local folder
    folder=$(docker volume inspect --format '{{.Mountpoint}}' "${PROJECT}_$1-kafka")
    find "$folder" -path "*/$TOPIC-*" -name '*.log' -printf '%s\n' 2>/dev/null | awk '{ n += $1 } END { print n + 0 }'
}

# ---- the link and its load

bridge_start() {
    docker start "$(container "$1")" >/dev/null
}

link_command() {
    "$CHAOS/../compose/link.sh" "$@"
}

load_start() {
    docker start "$(container producer)" >/dev/null
}

# Killed in the middle of a transaction: its records are at the source, aborted when it times out, and must not be at the target.
load_stop() {
    docker kill "$(container producer)" >/dev/null
}
