# shellcheck shell=bash
# Three namespaces in a row: source zone, bridge zone, target zone. Each outer one has a cable to the bridge zone and no other.

ZONES=(source bridge target)
SOURCE_NET=10.91.1
TARGET_NET=10.91.2
# Of the bridges, in both networks.
BRIDGE_HOST=1
SOURCE_HOSTS=("$SOURCE_NET.11 source-kafka")
TARGET_HOSTS=("$TARGET_NET.11 target-kafka-1" "$TARGET_NET.12 target-kafka-2" "$TARGET_NET.13 target-kafka-3")
# A cable from the bridge zone to this machine, for a lab whose consoles are to be looked at; each bridge has an address there.
CONSOLE_NET=10.91.4
CONSOLE_HERE="$CONSOLE_NET.1"
CONSOLE_PORT=8080
PORT=9093
# Long enough for a machine that is busy, and no packet gets through a cut however long one waits.
CONNECT_LIMIT=3

# Of this lab alone: several may run at once. The lab's folder has its name from mktemp.
namespace() {
    echo "kb-${LAB##*.}-$1"
}

network_up() {
    local zone path bridge
    for zone in "${ZONES[@]}"; do
        # `ip netns exec` puts this over /etc/hosts. A zone does not even know the names of the other one.
        mkdir -p "/etc/netns/$(namespace "$zone")"
        {
            echo "127.0.0.1 localhost"
            if [ "$zone" != target ]; then printf '%s\n' "${SOURCE_HOSTS[@]}"; fi
            if [ "$zone" != source ]; then printf '%s\n' "${TARGET_HOSTS[@]}"; fi
            if [ "$zone $CONSOLES" = "bridge yes" ]; then for it in "${BRIDGES[@]}"; do echo "$(console_address "$it") $it"; done; fi
        } >"/etc/netns/$(namespace "$zone")/hosts"
        ip netns add "$(namespace "$zone")"
        ip -n "$(namespace "$zone")" link set lo up
        # A new namespace may inherit forwarding from a host that runs containers. IPv6 would be a second way past the rules.
        for path in ipv4/ip_forward=0 ipv6/conf/all/disable_ipv6=1 ipv6/conf/default/disable_ipv6=1; do
            in_zone "$zone" sh -c "[ ! -e /proc/sys/net/${path%=*} ] || echo ${path#*=} >/proc/sys/net/${path%=*}"
        done
    done
    bridge=$(namespace bridge)
    cable source "$SOURCE_NET" "${SOURCE_HOSTS[@]}"
    cable target "$TARGET_NET" "${TARGET_HOSTS[@]}"
    if [ "$CONSOLES" = yes ]; then console_cable; fi
    # The bridge zone is no router: forwarding is off, and were it on, nothing would be forwarded. What arrives for the
    # other zone is counted: a proof of isolation whose packets never came so far proves nothing. Nor does a zone reach
    # an address of the bridge zone that is not in its own network: Linux would answer for it.
    ip netns exec "$bridge" nft -f - <<END
table inet isolation {
    counter source_to_target { }
    counter target_to_source { }
    chain arriving {
        type filter hook prerouting priority -300;
        iifname "source" ip daddr $TARGET_NET.0/24 counter name "source_to_target"
        iifname "target" ip daddr $SOURCE_NET.0/24 counter name "target_to_source"
    }
    chain arrived {
        type filter hook input priority 0;
        iifname "source" ip daddr != $SOURCE_NET.$BRIDGE_HOST drop;
        iifname "target" ip daddr != $TARGET_NET.$BRIDGE_HOST drop;
    }
    chain forward {
        type filter hook forward priority 0; policy drop;
    }
}
END
}

# console_address bridge-N
console_address() {
    echo "$CONSOLE_NET.$((${1#bridge-} + 1))"
}

console_link() {
    echo "kb-${LAB##*.}"
}

console_cable() {
    local it bridge
    bridge=$(namespace bridge)
    [ -z "$(ip -o address show to "$CONSOLE_NET.0/29")" ] ||
        stop_with "$EXIT_MISSING" "this machine has an address in $CONSOLE_NET.0/29 already: one lab with consoles at a time"
    ip link add "$(console_link)" type veth peer name here netns "$bridge"
    for it in "${BRIDGES[@]}"; do ip -n "$bridge" address add "$(console_address "$it")/29" dev here; done
    ip -n "$bridge" link set here up
    ip address add "$CONSOLE_HERE/29" dev "$(console_link)"
    ip link set "$(console_link)" up
}

# cable ZONE NET "ADDRESS NAME"...
cable() {
    local zone=$1 net=$2 outer inner
    shift 2
    outer=$(namespace "$zone") inner=$(namespace bridge)
    ip link add "$zone" netns "$inner" type veth peer name uplink netns "$outer"
    ip -n "$inner" address add "$net.$BRIDGE_HOST/24" dev "$zone"
    ip -n "$inner" link set "$zone" up
    for it in "$@"; do ip -n "$outer" address add "${it%% *}/24" dev uplink; done
    ip -n "$outer" link set uplink up
    # The worst case: somebody in the zone has made the bridge zone the router.
    ip -n "$outer" route add default via "$net.$BRIDGE_HOST"
}

network_down() {
    local zone pids
    # By itself it would go with its other end, a moment after the namespace.
    ip link delete "$(console_link)" 2>/dev/null || true
    for zone in "${ZONES[@]}"; do
        # Everything in the zone is the lab's, also what some script of it started and did not live to stop.
        for _ in 1 2 3 4 5; do
            mapfile -t pids < <(ip netns pids "$(namespace "$zone")" 2>/dev/null)
            [ ${#pids[@]} -gt 0 ] || break
            kill -s KILL "${pids[@]}" 2>/dev/null || true
            pause 0.2
        done
        ip netns delete "$(namespace "$zone")" 2>/dev/null || true
        rm -rf "/etc/netns/$(namespace "$zone")"
    done
}

# can_connect ZONE HOST: to Kafka's port.
can_connect() {
    in_zone "$1" timeout "$CONNECT_LIMIT" bash -c "exec 3<>/dev/tcp/$2/$PORT" 2>/dev/null
}

cannot_connect() {
    ! can_connect "$@"
}

# packets TABLE COUNTER
packets() {
    in_zone bridge nft list counter inet "$1" "$2" | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}

# The connection that must work is tried first: without it a broken lab would pass for an isolated one.
network_is_isolated() {
    local source=${SOURCE_HOSTS[0]%% *} target=${TARGET_HOSTS[0]%% *} arrived
    if ! can_connect bridge "$source" || ! can_connect bridge "$target"; then
        say "FAILED: the bridge zone reaches not both brokers: nothing can be said of isolation"
        return 1
    fi
    if can_connect source "$target" || can_connect target "$source"; then
        say "NOT ISOLATED: source zone and target zone can connect"
        return 1
    fi
    arrived="$(packets isolation source_to_target) and $(packets isolation target_to_source)"
    if [[ " $arrived " == *" 0 "* ]]; then
        say "FAILED: no attempt to connect came as far as the bridge zone ($arrived packets)"
        return 1
    fi
    say "isolated: the bridge zone reaches both brokers; source zone to target zone and back do not connect ($arrived packets came as far as the bridge zone)"
}

# network_cut DIRECTION...: from_source, to_source, from_target, to_target, as the bridges see it. Dropped, not refused:
# whoever is refused knows at once, and a cable that is cut says nothing.
network_cut() {
    local rules_in="" rules_out="" counters="" direction rule
    for direction in "$@"; do
        counters+="counter $direction { }"$'\n'
        rule="name \"${direction#*_}\" counter name \"$direction\" drop"$'\n'
        case $direction in
            from_*) rules_in+="iif$rule" ;;
            to_*) rules_out+="oif$rule" ;;
        esac
    done
    in_zone bridge nft -f - <<END
table inet cut {
    $counters
    chain in { type filter hook input priority -10; $rules_in }
    chain out { type filter hook output priority -10; $rules_out }
}
END
}

network_heal() {
    in_zone bridge nft delete table inet cut 2>/dev/null || true
}
