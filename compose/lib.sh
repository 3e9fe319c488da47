# shellcheck shell=bash
# What up, down and images.sh have in common.

COMPOSE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(dirname "$COMPOSE")
# How to say things, and Kafka's versions and jars, are the lab's.
CHAOS="$ROOT/chaos"
# shellcheck source=chaos/lib/terminal.sh
. "$CHAOS/lib/terminal.sh"
# shellcheck source=chaos/lab/requirements.sh
. "$CHAOS/lab/requirements.sh"

# What images are built from, and keys; git ignores it.
# shellcheck disable=SC2034  # The scripts read it.
BUILD="$COMPOSE/build"
# Where the lab is that compose/up --lab has started.
# shellcheck disable=SC2034  # As above.
LAB_NOTE="$BUILD/lab"
# The one user of all images, where they are not run as whoever owns the keys.
IMAGE_USER=10001:10001
# The engine, and compose of either kind, into COMPOSE_COMMAND. Its files by their names: so it works from any folder.
need_engine() {
    local why
    command -v docker >/dev/null || stop_with "$EXIT_MISSING" "docker is missing (Debian: apt-get install docker.io docker-compose); without an engine: compose/up --lab"
    why=$(docker version --format '{{.Server.Version}}' 2>&1 >/dev/null) ||
        stop_with "$EXIT_MISSING" "no container engine answers: ${why##*$'\n'}; without one: compose/up --lab"
    if docker compose version >/dev/null 2>&1; then
        COMPOSE_COMMAND=(docker compose)
    elif command -v docker-compose >/dev/null; then
        COMPOSE_COMMAND=(docker-compose)
    else
        stop_with "$EXIT_MISSING" "compose is missing (Debian: apt-get install docker-compose)"
    fi
    COMPOSE_COMMAND+=(--project-directory "$COMPOSE" --file "$COMPOSE/compose.yaml" --env-file "$COMPOSE/.env")
}

compose() {
    "${COMPOSE_COMMAND[@]}" "$@"
}

# setting NAME DEFAULT: from the environment, else .env.local, else the default. As compose reads it: the rest of the line.
setting() {
    local value=""
    if [ -n "${!1:-}" ]; then
        value=${!1}
    elif [ -e "$COMPOSE/.env.local" ]; then
        value=$(sed -n "s/^$1=//p" "$COMPOSE/.env.local" | tail -n 1)
    fi
    printf '%s' "${value:-$2}"
}

# has_profile NAME
has_profile() {
    [[ ",$(setting COMPOSE_PROFILES ""), " == *",$1,"* ]]
}

# All that compose is to know, in the file that it reads by itself: so `docker compose ps` in the folder means the same.
write_settings() {
    local owner=$IMAGE_USER
    # docker-compose 1.29 does nothing at all where a folder is missing that an image could be built from.
    mkdir -p "$BUILD/bridge" "$BUILD/proxy" "$BUILD/kafka-$SOURCE_VERSION" "$BUILD/kafka-$TARGET_VERSION"
    # Keys are readable for their owner alone; root gives them to the images' user, and nobody else can.
    [ "$(id -u)" = 0 ] || owner="$(id -u):$(id -g)"
    {
        echo "# Written by compose/${0##*/}, anew each time. Yours is .env.local."
        if [ -e "$COMPOSE/.env.local" ]; then grep -E '^[A-Z_]+=' "$COMPOSE/.env.local" || true; fi
        echo "COMPOSE_PROJECT_NAME=$(setting COMPOSE_PROJECT_NAME kafka-bridge)"
        echo "RUN_AS=$(setting RUN_AS "$owner")"
        if has_profile target-zookeeper; then
            echo "TARGET_VERSION=$SOURCE_VERSION"
            echo "TARGET_ROLE=broker"
        fi
        if has_profile kafka-ui; then echo "PROXY_KAFKA_UI=kafka-ui:8080"; fi
    } >"$COMPOSE/.env.new"
    mv "$COMPOSE/.env.new" "$COMPOSE/.env"
}

target_version() {
    if has_profile target-zookeeper; then echo "$SOURCE_VERSION"; else echo "$TARGET_VERSION"; fi
}

project() {
    setting COMPOSE_PROJECT_NAME kafka-bridge
}

# container SERVICE: its name, also of one that is down. By the labels that both kinds of compose give: compose takes seconds to say it.
container() {
    local name
    name=$(docker ps --all --filter "label=com.docker.compose.project=$(project)" --filter "label=com.docker.compose.service=$1" \
        --filter label=com.docker.compose.oneoff=False --format '{{.Names}}' | head -n 1)
    [ -n "$name" ] && echo "$name"
}
