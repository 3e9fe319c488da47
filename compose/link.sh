#!/usr/bin/env bash
# kafka-bridge with the link's configuration, in a container of its own beside a bridge: what it needs is not taken from the bridge.
set -euo pipefail
# shellcheck source=compose/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() {
    cat <<'END'
usage: compose/link.sh COMMAND [ARGUMENT...]

Runs a command of kafka-bridge that takes --config, on the project that runs.

exit code: that of the command; 1 no bridge runs; 2 wrong usage; 69 no container engine

example:
  compose/link.sh positions
  compose/link.sh verify
  compose/link.sh dead-letters list --topic orders
END
}

case ${1:-} in
    --help | -h)
        usage
        exit 0
        ;;
    [a-z]*) ;;
    *) wrong_usage "which command?" ;;
esac
need_engine
beside=""
for name in bridge-1 bridge-2; do
    id=$(container "$name") || continue
    if [ "$(docker inspect --format '{{.State.Status}}' "$id")" = running ]; then beside=$id; fi
done
[ -n "$beside" ] || stop_with "$EXIT_DIFFERENT" "no bridge runs"
# Subcommands stand before their options.
words=("$1")
shift
if [[ ${1:-} == [a-z]* ]]; then
    words+=("$1")
    shift
fi
# What the bridge is given it has too; a name of its own, though no command but run joins the group.
settings=(--env BRIDGE_INSTANCE=operator)
while read -r it; do settings+=(--env "$it"); done < <(
    docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$beside" | grep -E '^(BRIDGE_LOG_LEVEL|CONSOLE_LISTEN)='
)
exec docker run --rm --network "container:$beside" --volumes-from "$beside:ro" --user "$(docker inspect --format '{{.Config.User}}' "$beside")" \
    --read-only --cap-drop ALL --security-opt no-new-privileges --memory 1g "${settings[@]}" \
    kafka-bridge/bridge:local "${words[@]}" --config /etc/kafka-bridge/bridge.toml "$@"
