#!/usr/bin/env bash
# Kills one of the two bridges without a word.
set -euo pipefail
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/kill-bridge.sh [--bridge 1|2] [--lab DIR | --target-nodes 1|3] [--keep]

Ends one of the two bridges with SIGKILL while records flow, waits until the other works all lanes, starts it again, and proves the
copy. Shown of the fault: the process is gone, and its lanes are the other's.

  --bridge 1|2        which one (1)
$COMMON_OPTIONS

$COMMON_CODES

example:
  sudo chaos/kill-bridge.sh --bridge 2
END
}

choose_victim 1
while [ $# -gt 0 ]; do
    case $1 in
        --bridge)
            need_value "$@"
            choose_victim "$2"
            shift 2
            ;;
        *)
            common_option "$@"
            shift "$TAKEN"
            ;;
    esac
done

scenario_begin
victim_at_work
signal_process "$victim" KILL
killed_ms=$(now_ms)
say "$victim, pid $pid, with lanes $had, is killed"
until_true 10 "$victim is gone" is_gone "$victim" || no_fault "pid $pid lives"
other_takes_over "$killed_ms"
bridge_start "$victim"
again=$(pid_of "$victim")
[ "$again" != "$pid" ] || no_fault "$victim still has pid $pid"
healed "$victim is started again, pid $again"
judge
