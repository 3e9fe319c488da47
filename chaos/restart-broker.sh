#!/usr/bin/env bash
# Ends a broker and starts it again.
set -euo pipefail
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/restart-broker.sh source|target [--graceful] [--seconds N] [--node N] [--lab DIR | --target-nodes 1|3] [--keep]

Ends a broker with SIGKILL while records flow, starts it again on its data, and proves the copy.
Shown of the fault: nobody can connect to the broker, and afterwards it is another process.

  --graceful          an orderly shutdown (SIGTERM) in place of SIGKILL
  --seconds N         how long it is down (5)
  --node N            which of the target's three (1)
$COMMON_OPTIONS

$COMMON_CODES

example:
  sudo chaos/restart-broker.sh target --seconds 15
END
}

side="" signal=KILL seconds=5 node=1
while [ $# -gt 0 ]; do
    case $1 in
        source | target)
            [ -z "$side" ] || wrong_usage "source or target, not both"
            side=$1
            shift
            ;;
        --graceful)
            signal=TERM
            shift
            ;;
        --seconds | --node)
            need_value "$@"
            is_number "$2" 1 || wrong_usage "$1 $2: a number from 1"
            if [ "$1" = --node ]; then node=$2; else seconds=$2; fi
            shift 2
            ;;
        *)
            common_option "$@"
            shift "$TAKEN"
            ;;
    esac
done
[ -n "$side" ] || wrong_usage "which broker, source or target?"
broker=$(brokers "$side" | sed -n "${node}p")
[ -n "$broker" ] || wrong_usage "--node $node: the $side has $(brokers "$side" | wc -l)"

scenario_begin
broker_end "$broker" "$signal"
pause "$seconds"
broker_again "$broker"
judge
