#!/usr/bin/env bash
# Shows that source and target have no path between them, while the bridges reach both.
set -euo pipefail
# shellcheck source=compose/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: compose/isolated.sh

Of the project that runs: the bridges connect to both brokers; neither broker connects to the other, also not when it is given a route
to the other network by way of a bridge, the one container that stands in both.

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

# beside CONTAINER COMMAND...: in its network, with the rights to change routes and with tools that the container itself has not.
beside() {
    docker run --rm --network "container:$1" --user 0:0 --cap-drop ALL --cap-add NET_ADMIN --entrypoint "" kafka-bridge/proxy:local "${@:2}"
}

# connects CONTAINER ADDRESS
connects() {
    beside "$1" timeout "$CONNECT_LIMIT" bash -c "exec 3<>/dev/tcp/$2/9093" 2>/dev/null
}

# address CONTAINER ZONE, and the range of its network.
address() {
    docker inspect --format "{{with index .NetworkSettings.Networks \"${project}_$2\"}}{{.IPAddress}}{{end}}" "$1"
}

range() {
    docker network inspect --format '{{(index .IPAM.Config 0).Subnet}}' "${project}_$1"
}

need_engine
project=$(setting COMPOSE_PROJECT_NAME kafka-bridge)
source=$(container source-kafka) target=$(container target-kafka) || stop_with "$EXIT_DIFFERENT" "the project does not run"
for name in bridge-1 bridge-2; do
    bridge=$(container "$name") || stop_with "$EXIT_DIFFERENT" "$name does not run"
    # What must work is tried first: without it a broken network would pass for an isolated one.
    for zone in source target; do
        connects "$bridge" "$zone-kafka" || stop_with "$EXIT_DIFFERENT" "$name does not reach $zone-kafka: nothing can be said of isolation"
    done
done

# from CONTAINER ZONE OTHER_CONTAINER OTHER_ZONE
from() {
    local there gateway routed=yes
    there=$(address "$3" "$4") gateway=$(address "$bridge" "$2")
    if [ -n "$(address "$1" "$4")" ] || connects "$1" "$there"; then stop_with "$EXIT_DIFFERENT" "NOT ISOLATED: $1 connects to $3 ($there)"; fi
    # The worst case: somebody in the zone makes a bridge the router.
    beside "$1" ip route add "$(range "$4")" via "$gateway" || stop_with "$EXIT_DIFFERENT" "$1 takes no route by way of $gateway: nothing can be said"
    connects "$1" "$there" || routed=no
    beside "$1" ip route delete "$(range "$4")" via "$gateway"
    [ "$routed" = no ] || stop_with "$EXIT_DIFFERENT" "NOT ISOLATED: $1 connects to $3 ($there) by way of $gateway"
}
from "$source" source "$target" target
from "$target" target "$source" source
say "isolated: both bridges reach both brokers; source to target and back do not connect, also not by a route through a bridge"
