#!/usr/bin/env bash
# Mints what is missing, and lays out for each container what it is to have: its own keys, and no other.
set -euo pipefail
# shellcheck source=compose/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: compose/certificates.sh [--renew]

Certificates of all containers, by pki/mint.sh, into compose/build/pki; a login for the proxy, whose password is told once; and of these
a folder for each container, compose/build/keys. Bridges take new files while they run, brokers and the proxy when they are restarted.

  --renew   new keys and certificates; the authorities stay

exit code: 0 done; 1 failed; 2 wrong usage
END
}

renew=()
case ${1:-} in
    "") ;;
    --renew) renew=(--renew) ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) wrong_usage "what is $1?" ;;
esac

# lay SERVICE/FOLDER FILE...: renamed into place, so that nobody reads half of one.
lay() {
    local folder="$BUILD/keys/$1" it
    shift
    mkdir -p "$folder"
    for it in "$@"; do
        cp "$BUILD/pki/$it" "$folder/.new"
        # Keys are readable for their owner alone; root gives them to whom containers run as.
        if [ "$(id -u)" = 0 ]; then chown "$(setting RUN_AS "$IMAGE_USER")" "$folder/.new"; fi
        mv "$folder/.new" "$folder/${it##*/}"
    done
}

mkdir -p "$BUILD"
"$ROOT/pki/mint.sh" --out "$BUILD/pki" "${renew[@]}" \
    --broker source/source-kafka --broker source/source-zookeeper --client source/bridge --client source/producer --client source/kafka-ui \
    --broker target/target-kafka --broker target/target-zookeeper --client target/bridge --client target/consumer --client target/kafka-ui \
    --server "proxy/proxy:$(setting PROXY_HOSTS "localhost 127.0.0.1" | tr ' ' ',')" --client proxy/operator
for it in source/source-zookeeper source/source-kafka target/target-zookeeper target/target-kafka; do
    lay "${it#*/}" "${it%/*}/ca.pem" "$it.keystore.pem"
done
# It makes a topic as the producer.
lay source-topic source/ca.pem source/producer.keystore.pem
lay producer source/ca.pem source/producer.pem source/producer.key
lay consumer target/ca.pem target/consumer.pem target/consumer.key
for it in source target; do
    lay "bridge/$it" "$it/ca.pem" "$it/bridge.pem" "$it/bridge.key"
    lay "kafka-ui/$it" "$it/ca.pem" "$it/kafka-ui.keystore.pem"
done
lay proxy proxy/ca.pem proxy/proxy.pem proxy/proxy.key
if [ ! -e "$BUILD/keys/proxy/login" ]; then
    password=$(openssl rand -hex 12)
    printf '%s\n' "$password" | "$ROOT/proxy/login.sh" --file "$BUILD/keys/proxy/login" operator
    if [ "$(id -u)" = 0 ]; then chown "$(setting RUN_AS "$IMAGE_USER")" "$BUILD/keys/proxy/login"; fi
    say "the console's user is operator, its password $password; another: proxy/login.sh --file compose/build/keys/proxy/login operator"
fi
