#!/usr/bin/env bash
# Stops one of the two bridges for longer than its session, and lets it go on: a zombie that believes it has its lanes.
set -euo pipefail
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/freeze-bridge.sh [--bridge 1|2] [--seconds N] [--lab DIR | --target-nodes 1|3] [--keep]

Stops one of the two bridges with SIGSTOP while records flow, until the other has worked all lanes for a while, and lets it go on with
SIGCONT: it must give way, for its lanes are another's. Then the copy is proved.
Shown of the fault: the process is stopped, its lanes are the other's, and when it wakes up it gives them up.

  --bridge 1|2        which one (1)
  --seconds N         how long at least, more than the session of $SESSION_SECONDS s ($((SESSION_SECONDS * 2)))
$COMMON_OPTIONS

$COMMON_CODES

example:
  sudo chaos/freeze-bridge.sh --seconds 20
END
}

choose_victim 1
seconds=$((SESSION_SECONDS * 2))
while [ $# -gt 0 ]; do
    case $1 in
        --bridge)
            need_value "$@"
            choose_victim "$2"
            shift 2
            ;;
        --seconds)
            need_value "$@"
            is_number "$2" $((SESSION_SECONDS + 1)) || wrong_usage "--seconds $2: a number above $SESSION_SECONDS"
            seconds=$2
            shift 2
            ;;
        *)
            common_option "$@"
            shift "$TAKEN"
            ;;
    esac
done

times_given_up() {
    grep -c 'all lanes are given up' "$(log_of "$victim")" || true
}

has_given_way() {
    [ "$(times_given_up)" -gt "$given_up" ]
}

is_stopped() {
    [ "$(state_of "$victim")" = T ]
}

scenario_begin
victim_at_work
signal_process "$victim" STOP
frozen_ms=$(now_ms)
say "$victim, pid $pid, with lanes $had, is stopped"
until_true 10 "pid $pid is stopped" is_stopped || no_fault "pid $pid runs on"
other_takes_over "$frozen_ms"
copied=$(bytes_at target)
left_ms=$((seconds * 1000 - $(now_ms) + frozen_ms))
# The take-over may have taken all of the time; the other is to work for a while in any case.
[ "$left_ms" -ge 2000 ] || left_ms=2000
pause "$((left_ms / 1000)).$(printf '%03d' $((left_ms % 1000)))"
is_stopped || no_fault "$victim was stopped, and is no more"
[ "$(lanes_of "$victim")" = "$had" ] || no_fault "$victim gave its lanes up before it was stopped"
copied=$(($(bytes_at target) - copied))
[ "$copied" -gt 0 ] || no_recovery "$other has copied nothing"
say "$other has copied $copied bytes since, $victim is still stopped"
given_up=$(times_given_up)
signal_process "$victim" CONT
healed "$victim goes on after $(seconds_since "$frozen_ms") s, and believes that it works lanes $had"
until_true "$RECOVERY_LIMIT" "$victim gives way" has_given_way || no_fault "$victim gave nothing up"
say "$victim gave way $(seconds_since "$HEALED_MS") s after it went on: $(grep 'all lanes are given up' "$(log_of "$victim")" |
    tail -n 1 | sed 's/.*reason="\([^"]*\)".*/\1/')"
judge
