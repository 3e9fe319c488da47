# shellcheck shell=bash
# What the lab needs of the machine, told at once and with the packages that have it.

# The newest release that still has ZooKeeper, and the newest of all.
SOURCE_VERSION=3.9.2
TARGET_VERSION=4.4.0

require_machine() {
    local missing=() packages=() it
    [ "$(uname -s)" = Linux ] || stop_with "$EXIT_MISSING" "the lab needs Linux: it is made of network namespaces"
    [ "$(id -u)" = 0 ] || stop_with "$EXIT_MISSING" "the lab makes network namespaces: run it as root (sudo $0)"
    for it in ip:iproute2 nft:nftables java:openjdk-17-jre-headless openssl:openssl setsid:util-linux; do
        command -v "${it%%:*}" >/dev/null || missing+=("${it%%:*}") packages+=("${it#*:}")
    done
    if ! have_jars && ! command -v mvn >/dev/null; then
        missing+=("mvn (to fetch Kafka's jars)") packages+=(maven)
    fi
    if [ ${#missing[@]} -gt 0 ]; then
        local list
        list=$(printf ', %s' "${missing[@]}")
        stop_with "$EXIT_MISSING" "missing: ${list#, } (Debian: apt-get install ${packages[*]})"
    fi
}

jar_cache() {
    echo "${KAFKA_BRIDGE_TEST_CACHE:-${HOME:-/tmp}/.cache/kafka-bridge}"
}

# Folder, artifact and version.
JARS=("kafka-$SOURCE_VERSION kafka_2.13 $SOURCE_VERSION"
    "kafka-$TARGET_VERSION kafka_2.13 $TARGET_VERSION"
    "kafka-tools-$SOURCE_VERSION kafka-tools $SOURCE_VERSION")

have_jars() {
    local name artifact version
    for it in "${JARS[@]}"; do
        read -r name artifact version <<<"$it"
        [ -e "$(jar_cache)/$name/$artifact-$version.jar" ] || return 1
    done
}

# Into a folder of its own, renamed when it is complete: whoever sees the name sees all jars.
fetch_jars() {
    local name artifact version work cache
    cache=$(jar_cache)
    mkdir -p "$cache"
    for it in "${JARS[@]}"; do
        read -r name artifact version <<<"$it"
        [ ! -e "$cache/$name/$artifact-$version.jar" ] || continue
        say "fetching $artifact $version"
        work=$(mktemp -d "$cache/.fetching-XXXXXX")
        cat >"$work/pom.xml" <<END
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>lab</groupId><artifactId>jars</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
END
        attend mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
            "-DoutputDirectory=$work/jars" >"$work/log" 2>&1 || {
            tail -n 20 "$work/log" >&2
            rm -rf "$work"
            stop_with "$EXIT_MISSING" "mvn could not fetch $artifact $version"
        }
        # Another may have been faster; its folder is as complete.
        mv -T "$work/jars" "$cache/$name" 2>/dev/null || true
        rm -rf "$work"
    done
}

classpath() {
    echo "$(jar_cache)/$1/*"
}

# The bridge that $KAFKA_BRIDGE names, else this repository's release build.
bridge_binary() {
    local binary=${KAFKA_BRIDGE:-}
    if [ -z "$binary" ]; then
        command -v cargo >/dev/null ||
            stop_with "$EXIT_MISSING" "neither KAFKA_BRIDGE names a kafka-bridge, nor is cargo there to build one"
        say "building kafka-bridge" >&2
        attend cargo build --release --quiet --manifest-path "$CHAOS/../Cargo.toml" --package kafka-bridge >&2
        binary="${CARGO_TARGET_DIR:-$CHAOS/../target}/release/kafka-bridge"
    fi
    [ -x "$binary" ] || stop_with "$EXIT_MISSING" "KAFKA_BRIDGE=$binary is not a program"
    realpath "$binary"
}
