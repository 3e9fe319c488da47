#!/usr/bin/env bash
# Fetches and builds what the images are made of, then builds the images.
set -euo pipefail
# shellcheck source=compose/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: compose/images.sh

Builds the images of compose.yaml: the bridge (a static binary in an empty image), Kafka (its jars from Maven, on Debian's Java) and
the proxy (Debian's nginx). What is fetched lies in compose/build, and is not fetched again.

Where debian:bookworm-slim cannot be pulled it is made by debootstrap, and where a build reaches no Debian packages these are fetched
outside; both on Debian 12, as root.

environment:
  KAFKA_BRIDGE_STATIC   a statically linked kafka-bridge to use, instead of building a release
  KAFKA_BRIDGE_OFFLINE  yes: the engine reaches neither a registry nor packages; it is not tried

exit code: 0 built; 1 a build failed; 2 wrong usage; 69 something is missing here
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

BASE=debian:bookworm-slim
MUSL=x86_64-unknown-linux-musl
OFFLINE=${KAFKA_BRIDGE_OFFLINE:-no}

# ---- the bridge

is_static() {
    # A program interpreter is what a static binary has not; without readelf the empty image will tell.
    ! command -v readelf >/dev/null || ! readelf -l "$1" | grep -q 'Requesting program interpreter'
}

# musl where Rust's library for it and a C compiler are installed; else glibc, linked statically.
build_bridge() {
    local binary=${KAFKA_BRIDGE_STATIC:-} folder="$ROOT/target/static" cargo
    mkdir -p "$BUILD/bridge"
    if [ -z "$binary" ]; then
        command -v cargo >/dev/null || stop_with "$EXIT_MISSING" "neither KAFKA_BRIDGE_STATIC names a kafka-bridge, nor is cargo there to build one"
        cargo=(cargo rustc --quiet --release --locked --manifest-path "$ROOT/Cargo.toml" --package kafka-bridge --bin kafka-bridge --target-dir "$folder")
        if [ -d "$(rustc --print target-libdir --target "$MUSL" 2>/dev/null)" ] && command -v musl-gcc >/dev/null; then
            say "building kafka-bridge with musl"
            "${cargo[@]}" --target "$MUSL"
            binary="$folder/$MUSL/release/kafka-bridge"
        else
            say "building kafka-bridge with glibc, linked statically (for musl: rustup target add $MUSL, and Debian's musl-tools)"
            "${cargo[@]}" -- -C target-feature=+crt-static
            binary="$folder/release/kafka-bridge"
        fi
    fi
    [ -x "$binary" ] || stop_with "$EXIT_MISSING" "KAFKA_BRIDGE_STATIC=$binary is not a program"
    is_static "$binary" || stop_with "$EXIT_MISSING" "$binary is not statically linked: it cannot run in an empty image"
    # Debug information is most of it.
    if command -v objcopy >/dev/null; then
        objcopy --strip-debug "$binary" "$BUILD/bridge/kafka-bridge"
    else
        cp "$binary" "$BUILD/bridge/kafka-bridge"
    fi
}

# ---- the base of the others

need_base() {
    local rootfs
    if docker image inspect "$BASE" >/dev/null 2>&1; then return; fi
    if [ "$OFFLINE" = no ] && timeout 120 docker pull --quiet "$BASE" >/dev/null 2>&1; then return; fi
    say "$BASE cannot be pulled: making it by debootstrap"
    command -v debootstrap >/dev/null || stop_with "$EXIT_MISSING" "debootstrap is missing (Debian: apt-get install debootstrap)"
    [ "$(id -u)" = 0 ] || stop_with "$EXIT_MISSING" "debootstrap has to be run as root (sudo compose/${0##*/})"
    rootfs=$(mktemp -d "${TMPDIR:-/var/tmp}/kafka-bridge-base.XXXXXX")
    debootstrap --variant=minbase bookworm "$rootfs" >"$BUILD/debootstrap.log" 2>&1 || {
        rm -rf "$rootfs"
        stop_with "$EXIT_MISSING" "debootstrap failed: $(tail -n 1 "$BUILD/debootstrap.log")"
    }
    # As in the image that could not be pulled: what a build writes is gone anyway when the machine stops in the middle of it.
    echo force-unsafe-io >"$rootfs/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
    rm -rf "$rootfs"/var/lib/apt/lists/*
    tar -C "$rootfs" --exclude ./var/cache/apt/archives/*.deb -c . | docker import - "$BASE" >/dev/null
    rm -rf "$rootfs"
}

# Every build is asked the same; the answer holds for all.
reaches_packages() {
    if [ -z "${REACHES:-}" ]; then
        REACHES=no
        if [ "$OFFLINE" = no ] && docker run --rm "$BASE" timeout 60 apt-get -o APT::Update::Error-Mode=any update -qq >/dev/null 2>&1; then REACHES=yes; fi
    fi
    [ "$REACHES" = yes ]
}

# packages FOLDER NAME: into the context, with all that it needs and the base has not, as of the base's own list. What a build
# reaches by itself is not fetched.
packages() {
    local folder="$1/packages" name=$2 fetched="$BUILD/packages/$2" work
    mkdir -p "$folder"
    if [ ! -e "$fetched" ]; then
        if reaches_packages; then return; fi
        say "fetching Debian's $name, for builds without a network"
        grep -q '^VERSION_CODENAME=bookworm' /etc/os-release ||
            stop_with "$EXIT_MISSING" "builds reach no Debian packages, and this is no Debian 12 to fetch them on"
        work=$(mktemp -d "$BUILD/.packages-XXXXXX")
        mkdir -p "$work/archives/partial" "$BUILD/packages"
        docker run --rm "$BASE" cat /var/lib/dpkg/status >"$work/status"
        apt-get -qq -y -o "Dir::State::status=$work/status" -o "Dir::Cache=$work" -o APT::Sandbox::User=root \
            --no-install-recommends --download-only install "$name" >"$work/log" 2>&1 || {
            tail -n 3 "$work/log" >&2
            rm -rf "$work"
            stop_with "$EXIT_MISSING" "Debian's $name cannot be fetched (has apt-get update been run?)"
        }
        rm -rf "$work/archives/partial" "$work/archives/lock"
        mv "$work/archives" "$fetched"
        rm -rf "$work"
    fi
    cp -f "$fetched"/*.deb "$folder/"
}

# ---- Kafka

# kafka VERSION JARS...: hard links where that goes.
kafka() {
    local folder="$BUILD/kafka-$1" it
    shift
    mkdir -p "$folder/jars"
    for it in "$@"; do cp -lfL "$(jar_cache)/$it"/*.jar "$folder/jars/" 2>/dev/null || cp -fL "$(jar_cache)/$it"/*.jar "$folder/jars/"; done
    cp "$COMPOSE/kafka/start.sh" "$folder/"
    packages "$folder" openjdk-17-jre-headless
}

proxy() {
    mkdir -p "$BUILD/proxy"
    cp "$ROOT"/proxy/{nginx.conf.template,render.sh} "$BUILD/proxy/"
    packages "$BUILD/proxy" nginx
}

need_engine
mkdir -p "$BUILD"
write_settings
have_jars || command -v mvn >/dev/null || stop_with "$EXIT_MISSING" "mvn is missing, to fetch Kafka's jars (Debian: apt-get install maven)"
fetch_jars
need_base
build_bridge
kafka "$SOURCE_VERSION" "kafka-$SOURCE_VERSION" "kafka-tools-$SOURCE_VERSION"
if [ "$(target_version)" != "$SOURCE_VERSION" ]; then
    kafka "$TARGET_VERSION" "kafka-$TARGET_VERSION"
fi
proxy
say "building the images"
# One tells that it is deprecated, for each image.
compose build --quiet 2>"$BUILD/build.log" || {
    cat "$BUILD/build.log" >&2
    stop_with "$EXIT_DIFFERENT" "the images cannot be built"
}
