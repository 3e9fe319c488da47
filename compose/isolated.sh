#!/usr/bin/env bash
# Shows that source and target have no path between them, while the bridges reach both.
set -euo pipefail
# shellcheck source=compose/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: compose/isolated.sh

Of the project that runs: the bridges connect to both brokers; neither broker connects to the other, also not when it is given a route
to the other network by way of a bridge; and neither reaches a bridge's console, also not by such a route. The same of Kafka UI where
it runs: these are the containers that stand in both networks.

exit code: 0 isolated; 1 not, or nothing can be said; 2 wrong usage; 69 no container engine
END
}

case ${1:-} in
    "") ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) wrong_usage "what is $1?" ;;
esac

# Nobody answers what is dropped; longer proves no more.
CONNECT_LIMIT=3

# beside CONTAINER SCRIPT: in its network, with the right to change routes and with tools that the container itself has not.
beside() {
    docker run --rm --network "container:$1" --user 0:0 --cap-drop ALL --cap-add NET_ADMIN --entrypoint bash kafka-bridge/proxy:local -c "
        connects() { timeout $CONNECT_LIMIT bash -c \"exec 3<>/dev/tcp/\$1/\$2\" 2>/dev/null; }
        tell() { if connects \"\$1\" \"\$2\"; then echo \"\$3\"; fi; }
        $2"
}

# address CONTAINER ZONE, and the range of its network.
address() {
    docker inspect --format "{{with index .NetworkSettings.Networks \"${project}_$2\"}}{{.IPAddress}}{{end}}" "$1"
}

range() {
    docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' "${project}_$1"
}

# from CONTAINER ZONE OTHER_CONTAINER OTHER_ZONE: says which path there is, if any.
from() {
    local there script it gateway page
    there=$(address "$3" "$4")
    [ -z "$(address "$1" "$4")" ] || echo "$1 stands in the $4's network"
    script="tell $there 9093 '$1 connects to $3 ($there)' & "
    for it in "${between[@]}"; do script+="tell $(address "$it" "$2") 8080 '$1 connects to the console of $it' & "; done
    script+="wait; "
    # The worst case: somebody in the zone makes it the router. What is sent to any address that it has it takes for its own.
    for it in "${between[@]}"; do
        gateway=$(address "$it" "$2") page=$(address "$it" bridge)
        script+="
            { ip route replace $(range "$4") via $gateway && ip route replace $page via $gateway; } || echo '$1 takes no route: nothing can be said'
            tell $there 9093 '$1 connects to $3 ($there) by way of $it' &
            tell $page 8080 '$1 connects to the console of $it ($page) by way of $gateway' &
            wait
            ip route delete $(range "$4"); ip route delete $page; "
    done
    beside "$1" "$script" || echo "$1 cannot be asked"
}

need_engine
project=$(project)
source=$(container source-kafka) target=$(container target-kafka) || stop_with "$EXIT_DIFFERENT" "the project does not run"
between=()
for name in bridge-1 bridge-2 kafka-ui; do
    if ! it=$(container "$name"); then
        [ "$name" = kafka-ui ] || stop_with "$EXIT_DIFFERENT" "$name does not run"
        continue
    fi
    # What must work is tried first: without it a broken network would pass for an isolated one.
    beside "$it" "connects source-kafka 9093 && connects target-kafka 9093" ||
        stop_with "$EXIT_DIFFERENT" "$name does not reach both brokers: nothing can be said of isolation"
    between+=("$it")
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
from "$source" source "$target" target >"$work/source" 2>&1 &
from "$target" target "$source" source >"$work/target" 2>&1 &
wait
paths=$(cat "$work"/*)
if [[ $paths == *") by way of "* ]]; then
    # The engine's rules for an internal network hold for what passes between its containers only there.
    paths+=$'\n'"an engine filters this where packets within a network pass its rules: modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1"
fi
[ -z "$paths" ] || stop_with "$EXIT_DIFFERENT" "NOT ISOLATED: ${paths//$'\n'/; }"
say "isolated: both bridges reach both brokers; source to target and back do not connect, nor by a route through a bridge, and neither reaches a console, nor by such a route"
