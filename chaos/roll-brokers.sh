#!/usr/bin/env bash
# Restarts every broker of the target, one after the other, as for an upgrade.
set -euo pipefail
# The compose project has one broker at its target.
BACKEND=lab
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/roll-brokers.sh [--kill] [--lab DIR] [--keep]

Ends and restarts the target's three brokers one after the other while records flow; the next one when no partition lacks a replica.
Then the copy is proved. Shown of the fault: nobody can connect to a broker that is down, records are
copied meanwhile, and each is another process afterwards.

  --kill              SIGKILL in place of an orderly shutdown
$COMMON_OPTIONS

$COMMON_CODES

example:
  sudo chaos/roll-brokers.sh --kill
END
}

TARGET_NODES=3
signal=TERM
while [ $# -gt 0 ]; do
    case $1 in
        --kill)
            signal=KILL
            shift
            ;;
        *)
            common_option "$@"
            shift "$TAKEN"
            ;;
    esac
done
[ "$TARGET_NODES" = 3 ] || wrong_usage "with one broker there is nothing to roll: --target-nodes 3"

all_in_sync() {
    local lacking
    lacking=$(attend under_replicated) && [ -z "$lacking" ]
}

scenario_begin
for broker in $(brokers target); do
    until_true "$RECOVERY_LIMIT" "all replicas are in sync" all_in_sync || no_recovery "replicas are missing"
    broker_end "$broker" "$signal"
    pause 3
    until_true "$RECOVERY_LIMIT" "records are copied while $broker is down" copies_beyond "$(bytes_at target)" ||
        no_recovery "nothing is copied with two brokers of three"
    say "records are copied while it is down"
    broker_again "$broker"
done
judge
