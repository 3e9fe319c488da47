#!/usr/bin/env bash
# All of compose/ from nothing, in a container engine of its own, and down again without a trace.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=chaos/lib/terminal.sh
. "$HERE/chaos/lib/terminal.sh"

usage() {
    cat <<'END'
usage: compose/self-test.sh [--keep]

Starts an engine in a network namespace of its own (nothing that runs on this machine is touched, and no image of it is used), builds the
images there, and on the project shows: that all becomes healthy; that source and target are isolated, and that this check can say no; that
the proxy asks for a login and leads to a bridge; that bridges take new certificates while they run; that faults of chaos/ end with a clean copy; that every event of the producer is at the
target or in the dead letters, as the producer, the bridge's verify and the consumer count them; that all of it is so with the profile
target-zookeeper too, but for the faults; how the profile kafka-ui is wired, without its image; and that nothing is left after compose/down.

  --keep    keep the folder of the engine, also when all went well
  --help    this text

environment:
  KAFKA_BRIDGE_VISIT     protocol-tests' visit, to look at the console in a browser through the proxy
  KAFKA_BRIDGE_PICTURES  the folder that its picture goes to

exit code: 0 all of it was shown; 1 something was not; 2 wrong usage; 69 no engine can be had here
END
}

KEEP=no
case ${1:-} in
    "") ;;
    --keep) KEEP=yes ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) wrong_usage "what is $1?" ;;
esac

ENGINE_LIMIT=60
HTTPS=8443

[ "$(id -u)" = 0 ] || stop_with "$EXIT_MISSING" "an engine of its own needs root (sudo $0)"
missing=()
for it in ip nft nsenter docker dockerd docker-compose debootstrap iptables openssl; do
    command -v "$it" >/dev/null || missing+=("$it")
done
[ ${#missing[@]} -eq 0 ] || stop_with "$EXIT_MISSING" \
    "missing: ${missing[*]} (Debian: apt-get install docker.io docker-compose debootstrap iptables iproute2 nftables openssl)"

WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/kafka-bridge-engine.XXXXXX")
NAMESPACE="kb-${WORK##*.}-engine"
export DOCKER_HOST="unix://$WORK/docker.sock"
# A copy: certificates, settings and what images are built from are this run's own.
REPOSITORY="$WORK/repository"

engine_up() {
    ip netns add "$NAMESPACE" 2>"$WORK/log" || stop_with "$EXIT_MISSING" "no network namespaces can be made here: $(<"$WORK/log")"
    ip -n "$NAMESPACE" link set lo up
    setsid nsenter --net="/run/netns/$NAMESPACE" dockerd --data-root "$WORK/data" --exec-root "$WORK/run" --pidfile "$WORK/pid" \
        --host "$DOCKER_HOST" >"$WORK/dockerd.log" 2>&1 </dev/null &
    engine=$!
    until_true "$ENGINE_LIMIT" "the engine answers" engine_has_answered || true
    if ! docker version >/dev/null 2>&1; then
        grep -E 'level=(error|fatal)|failed to' "$WORK/dockerd.log" | tail -n 3 >&2
        stop_with "$EXIT_MISSING" "no container engine can be started here"
    fi
}

# Or has ended, as it does where the kernel lacks something.
engine_has_answered() {
    engine_is_gone || docker version >/dev/null 2>&1
}

end() {
    local code=$1 it
    trap '' INT TERM HUP
    if [ "$code" -ne 0 ] && [ -d "$WORK/logs" ]; then
        for it in $(docker ps --all --format '{{.Names}}' 2>/dev/null); do docker logs "$it" >"$WORK/logs/$it.log" 2>&1 || true; done
    fi
    docker ps --all --quiet 2>/dev/null | xargs -r docker rm --force --volumes >/dev/null 2>&1 || true
    if [ -n "${engine:-}" ]; then
        kill "$engine" 2>/dev/null || true
        until_true 30 "the end of the engine" engine_is_gone || kill -s KILL "$engine" 2>/dev/null || true
    fi
    ip netns delete "$NAMESPACE" 2>/dev/null || true
    if [ "$code" -ne 0 ] && [ "$code" -ne "$EXIT_MISSING" ] || [ "$KEEP" = yes ]; then
        # What it takes most of its room for explains nothing.
        rm -rf "$WORK/data"
        echo "logs and settings are kept in $WORK" >&2
    else
        rm -rf "$WORK"
    fi
    exit "$code"
}

engine_is_gone() {
    ! kill -0 "$engine" 2>/dev/null
}

failed() {
    say "NOT SHOWN: $1"
    exit "$EXIT_DIFFERENT"
}

# Attended: a signal ends the run in order, and not when a step has ended by itself.
step() {
    attend "$REPOSITORY/$1" "${@:2}"
}

in_engine() {
    attend nsenter --net="/run/netns/$NAMESPACE" "$@"
}

# filters 0|1: whether the engine's rules see what passes within a network.
filters() {
    in_engine bash -c "echo $1 >/proc/sys/net/bridge/bridge-nf-call-iptables" || failed "the kernel does not say whether it filters bridged packets"
}

# service NAME: its container.
service() {
    docker ps --all --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False --format '{{.Names}}'
}

# https PATH [LOGIN]: the answer's first line and its body.
https() {
    local login=""
    [ $# -lt 2 ] || login="Authorization: Basic $(printf '%s' "$2" | base64)"$'\r\n'
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\n%sConnection: close\r\n\r\n' "$1" "$login" |
        in_engine timeout 30 openssl s_client -quiet -verify_quiet -verify_return_error -CAfile "$REPOSITORY/compose/build/pki/proxy/ca.pem" \
            -connect "localhost:$HTTPS" 2>>"$WORK/logs/s_client.log"
}

# number FILE KEY: a number of a report in JSON, of its outermost object. total FILE KEY: of its totals. And all that it names as poison.
number() {
    sed -n "s/^  \"$2\": \([0-9]*\),\{0,1\}\$/\1/p" "$1"
}

total() {
    sed -n '/^  "total": {/,/^  }/p' "$1" | sed -n "s/^    \"$2\": \([0-9]*\),\{0,1\}\$/\1/p"
}

poison() {
    sed -n '/^  "poison": {/,/^  }/p' "$1" | awk -F ': ' 'NF == 2 { n += $2 } END { print n + 0 }'
}

is_caught_up() {
    "$REPOSITORY/compose/link.sh" positions >"$WORK/logs/positions.txt" 2>&1 && grep -q ' lag 0 ' "$WORK/logs/positions.txt" &&
        ! grep -q ' lag [1-9]' "$WORK/logs/positions.txt"
}

# Of the source, as both bridges say, whom the proxy asks in turn. One that its producer was killed in holds back, until it times out, what
# others have written behind it: nothing lags then, and more comes.
nothing_is_open() {
    local it
    for it in 1 2 3 4; do https /api/link "operator:$password" | grep -oE '"partition":[0-9]+|"last_stable":[0-9]+,"high_watermark":[0-9]+'; done >"$WORK/logs/open.txt"
    [ "$(grep partition "$WORK/logs/open.txt" | sort -u | wc -l)" = 8 ] && awk -F '[:,]' '/stable/ && $2 != $4 { open = 1 } END { exit open }' "$WORK/logs/open.txt"
}

caught_up() {
    until_true 60 "no transaction is open" nothing_is_open || failed "a transaction stays open: $(<"$WORK/logs/open.txt")"
    until_true 120 "no partition lags" is_caught_up || failed "the copy does not catch up: $(<"$WORK/logs/positions.txt")"
}

# hardened: what is root, has a right or can write is none of these.
hardened() {
    local it found
    for it in $(docker ps --format '{{.Names}}'); do
        found=$(docker inspect --format '{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}}' "$it")
        [[ $found =~ ^10001:10001\ true\ \[ALL\]\ \[no-new-privileges:true\]\ [1-9] ]] || failed "$it runs as $found"
    done
}

# up WHAT: compose/up from nothing, in $WORK/logs/WHAT.log.
up() {
    step compose/up >"$WORK/logs/$1.log" 2>&1 || {
        tail -n 30 "$WORK/logs/$1.log" >&2
        failed "compose/up ended with another code than 0"
    }
    grep -E 'healthy|isolated' "$WORK/logs/$1.log" || failed "compose/up says nothing of health and isolation"
}

# Answers in Kafka UI's place, with nothing but its address; and its health check finds the one program that it needs.
kafka_ui_stand_in() {
    mkdir "$WORK/stand-in"
    cat >"$WORK/stand-in/nginx.conf" <<'END'
pid /tmp/nginx.pid;
events { }
http {
    access_log off;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    server {
        listen ADDRESS:8080;
        location /kafka-ui/ { return 200 "stand-in $uri [$http_authorization]\n"; }
    }
}
END
    cat >"$WORK/stand-in/wget" <<'END'
#!/bin/bash
url=${!#} host=${url#http://}
exec 3<>"/dev/tcp/${host%%:*}/8080" && printf 'GET /%s HTTP/1.0\r\n\r\n' "${host#*/}" >&3 && read -r _ code _ <&3 && [ "$code" = 200 ]
END
    chmod +x "$WORK/stand-in/wget"
    cat >"$WORK/stand-in/Dockerfile" <<'END'
FROM kafka-bridge/proxy:local
COPY wget /usr/bin/wget
COPY nginx.conf /opt/nginx.conf
ENTRYPOINT ["bash", "-c", "sed s/ADDRESS/$SERVER_ADDRESS/ /opt/nginx.conf >/tmp/nginx.conf && exec nginx -e stderr -c /tmp/nginx.conf -g 'daemon off;'"]
END
    attend docker build --quiet --tag kafka-bridge/kafka-ui-stand-in:local "$WORK/stand-in" >"$WORK/logs/stand-in.log" 2>&1 ||
        failed "no stand-in for Kafka UI: $(<"$WORK/logs/stand-in.log")"
}

# kafka_ui_topics N: what Kafka's own client finds at a cluster with the settings, the keys and the networks of the service. Spring reads
# settings from the environment in small letters, with dots.
kafka_ui_topics() {
    # shellcheck disable=SC2016  # The container's shell is to fill these in.
    KAFKA_UI_IMAGE=kafka-bridge/kafka:3.9.2 attend "${compose[@]}" run --rm --no-deps -T --entrypoint bash kafka-ui -c '
        env | sed -n "s/^KAFKA_CLUSTERS_$0_PROPERTIES_//p" | while IFS="=" read -r name value; do
            name=${name,,}; echo "${name//_/.}=$value"
        done >/tmp/properties
        servers=KAFKA_CLUSTERS_$0_BOOTSTRAPSERVERS
        exec java -Xmx128m -cp "/opt/kafka/jars/*" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn org.apache.kafka.tools.TopicCommand \
            --bootstrap-server "${!servers}" --command-config /tmp/properties --list' "$1" 2>>"$WORK/logs/kafka-ui.err"
}

# One producer alone, whose own word is compared with what the others count. accounted EVENTS
accounted() {
    local before="$WORK/logs/before.json" after="$WORK/logs/after.json" made="$WORK/logs/made.json" produced poisoned copied lettered consumed counts
    docker stop --time 30 "$(service producer)" "$(service consumer)" >/dev/null
    [ "$(docker inspect --format '{{.State.ExitCode}}' "$(service consumer)")" = 0 ] || failed "the consumer did not end clean: $(docker logs --tail 8 "$(service consumer)" 2>&1)"
    docker logs --tail 8 "$(service consumer)" 2>&1 | grep -q 'verdict    clean' || failed "the consumer says nothing of a clean end"
    caught_up
    step compose/link.sh verify --json >"$before" || failed "verify before the producer ended with another code than 0"
    attend "${compose[@]}" run --rm --no-deps -T producer produce --bootstrap source-kafka:9093 --ca-file /pki/ca.pem --cert-file /pki/producer.pem \
        --key-file /pki/producer.key --topic orders --schema /etc/kafka-bridge/order.avsc --framing single-object --key id --generate --count "$1" \
        --poison 0.05 --transactional --abort-ratio 0.1 --json >"$made" 2>"$WORK/logs/made.err" || failed "the producer ended with another code than 0"
    caught_up
    step compose/link.sh verify --json >"$after" || failed "verify ended with another code than 0"
    attend "${compose[@]}" run --rm --no-deps -T consumer consume --bootstrap target-kafka:9093 --ca-file /pki/ca.pem --cert-file /pki/consumer.pem \
        --key-file /pki/consumer.key --topic orders --schema /etc/kafka-bridge/order.avsc --framing single-object --quiet --json \
        >"$WORK/logs/consumed.json" 2>"$WORK/logs/consumed.err" || failed "the consumer ended with another code than 0"
    produced=$(number "$made" events) poisoned=$(poison "$made")
    copied=$(($(total "$after" records) - $(total "$before" records)))
    lettered=$(($(total "$after" dead_lettered) - $(total "$before" dead_lettered)))
    consumed=$(number "$WORK/logs/consumed.json" events)
    counts="produced $produced, of them $poisoned invalid; copied $copied, dead letters $lettered; at the target $consumed in all"
    [ "$poisoned" -gt 0 ] || failed "nothing was invalid: $counts"
    [ "$produced $lettered $copied $consumed" = "$1 $poisoned $((produced - poisoned)) $(total "$after" records)" ] || failed "the counts differ: $counts"
    say "every event is accounted for: $counts"
}

trap 'end $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

engine_up
say "an engine of its own: Docker $(docker version --format '{{.Server.Version}}'), in $WORK"
mkdir -p "$WORK/logs" "$REPOSITORY"
tar -C "$HERE" --exclude compose/build --exclude 'compose/.env' --exclude 'compose/.env.local' --exclude pki/out -c \
    Cargo.toml avro chaos compose pki proxy | tar -C "$REPOSITORY" -x
# For its own patience, not the proxy's: what is asked here is little.
echo "KAFKA_CPUS=2.0" >"$REPOSITORY/compose/.env.local"

# A namespace of its own has no way out.
export KAFKA_BRIDGE_OFFLINE=yes
compose=(docker-compose --project-directory "$REPOSITORY/compose" --file "$REPOSITORY/compose/compose.yaml")
up up
password=$(sed -n 's/.*its password \([0-9a-f]\{24\}\);.*/\1/p' "$WORK/logs/up.log")

# That the check can say no: a broker that stands in both networks; and an engine whose rules do not see what passes within a network, so
# that a bridge answers a zone at the address that it has for the proxy.
docker network connect kafka-bridge_target "$(service source-kafka)"
filters 0
if step compose/isolated.sh >"$WORK/logs/isolated.log" 2>&1; then failed "a path from source to target was not told"; fi
grep -q "NOT ISOLATED: .*stands in the target's network.*to the console of .* by way of" "$WORK/logs/isolated.log" || failed "isolated.sh: $(<"$WORK/logs/isolated.log")"
filters 1
docker network disconnect kafka-bridge_target "$(service source-kafka)"
say "a path from source to target is told: $(sed 's/.*NOT ISOLATED: //' "$WORK/logs/isolated.log")"

[[ $(https /api/link) == 'HTTP/1.1 401'* ]] || failed "the proxy asks for no login"
https /api/link "operator:$password" >"$WORK/logs/link.json"
[[ $(head -n 1 "$WORK/logs/link.json") == 'HTTP/1.1 200'* ]] || failed "the proxy leads to no bridge: $(head -n 1 "$WORK/logs/link.json")"
grep -q '"orders"' "$WORK/logs/link.json" || failed "the console does not tell of the link"
say "the proxy asks for a login, and leads to a bridge's console"

hardened
say "no container runs as root, with a capability, or on a file system that it can write to"

if [ -n "${KAFKA_BRIDGE_VISIT:-}" ]; then
    VISIT_PASSWORD=$password in_engine "$KAFKA_BRIDGE_VISIT" "https://localhost:$HTTPS" --certificate "$REPOSITORY/compose/build/pki/proxy/proxy.pem" \
        --picture "${KAFKA_BRIDGE_PICTURES:-$WORK}/compose.png" >"$WORK/logs/visit.log" 2>&1 || failed "the console in a browser: $(<"$WORK/logs/visit.log")"
    say "in a browser the console agrees with what the bridge says, and moves: $(<"$WORK/logs/visit.log")"
fi

step chaos/partition.sh --compose --seconds 9 || failed "chaos/partition.sh ended with another code than 0"
# The broker below has its new ones when it is back.
step compose/certificates.sh --renew >"$WORK/logs/renew.log" || failed "compose/certificates.sh --renew ended with another code than 0"
has_renewed() {
    docker logs "$(service "$1")" 2>&1 | grep -q 'source.tls: new certificates are in use' &&
        docker logs "$(service "$1")" 2>&1 | grep -q 'target.tls: new certificates are in use'
}
for it in bridge-1 bridge-2; do
    docker kill --signal HUP "$(service "$it")" >/dev/null
    until_true 60 "$it uses its new certificates" has_renewed "$it" || failed "$it goes on with old certificates"
done
say "both bridges use new certificates, and run on"

step chaos/restart-broker.sh target --compose || failed "chaos/restart-broker.sh ended with another code than 0"

accounted 3000

[[ $(https /kafka-ui/ "operator:$password") == 'HTTP/1.1 404'*'No Kafka UI is set up here'* ]] || failed "what is not there is not said to be missing"
attend "${compose[@]}" --profile kafka-ui config >"$WORK/logs/config.yaml" 2>"$WORK/logs/config.err" || failed "the profile kafka-ui: $(<"$WORK/logs/config.err")"
grep -qE 'image: ghcr.io/kafbat/kafka-ui:v[0-9.]+$' "$WORK/logs/config.yaml" || failed "the profile kafka-ui names no version of Kafka UI"
kafka_ui_stand_in

# The other target: an older Kafka beside ZooKeeper. And Kafka UI's place is taken by the stand-in.
step compose/down || failed "compose/down ended with another code than 0"
printf '%s\n' COMPOSE_PROFILES=target-zookeeper,kafka-ui KAFKA_UI_IMAGE=kafka-bridge/kafka-ui-stand-in:local >>"$REPOSITORY/compose/.env.local"
up zookeeper
[ -n "$(service target-zookeeper)" ] || failed "the profile target-zookeeper starts none"
[ "$(docker inspect --format '{{.Config.Image}} {{.Config.Cmd}}' "$(service target-kafka)")" = "kafka-bridge/kafka:3.9.2 [broker]" ] ||
    failed "the target is $(docker inspect --format '{{.Config.Image}} {{.Config.Cmd}}' "$(service target-kafka)")"
hardened
[[ $(https /kafka-ui/) == 'HTTP/1.1 401'* ]] || failed "Kafka UI is to be had without a login"
[[ $(https /kafka-ui/ui "operator:$password") == 'HTTP/1.1 200'*'stand-in /kafka-ui/ui []'* ]] ||
    failed "the proxy leads not to Kafka UI, or tells it the password: $(https /kafka-ui/ui "operator:$password")"
# Its address is for one.
docker stop --time 5 "$(service kafka-ui)" >/dev/null
[[ $(https /kafka-ui/ui "operator:$password") == 'HTTP/1.1 502'*'Kafka UI does not answer'* ]] || failed "what is away is not said to be"
[[ $(kafka_ui_topics 0) == *orders* && $(kafka_ui_topics 1) == *orders.ledger* ]] || failed "Kafka UI's settings lead to no cluster: $(tail -n 3 "$WORK/logs/kafka-ui.err")"
say "Kafka UI's place is healthy, isolated and behind the login; its settings and keys let Kafka's client into both clusters"
accounted 1000

step compose/down --images || failed "compose/down ended with another code than 0"
left=$(docker ps --all --quiet && docker volume ls --quiet && docker network ls --quiet --filter type=custom && docker images --quiet 'kafka-bridge/*')
[ -z "$left" ] || failed "compose/down has left $left"
for it in build .env; do [ ! -e "$REPOSITORY/compose/$it" ] || failed "compose/down --images has left compose/$it"; done
say "down again, and nothing is left"
