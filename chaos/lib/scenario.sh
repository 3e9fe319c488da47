# shellcheck shell=bash
# What every fault has around it: a lab before, and the verdict after it.

CHAOS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=chaos/lib/terminal.sh
. "$CHAOS/lib/terminal.sh"

# The place to run in: the compose project where it runs, else a lab; unless an option, or the script, says which.
choose_backend() {
    local it
    for it in "$@"; do
        case $it in
            --compose) BACKEND=compose ;;
            --lab | --target-nodes | --help | -h) BACKEND=lab ;;
        esac
        [ -z "$BACKEND" ] || return 0
    done
    BACKEND=lab
    if command -v docker >/dev/null && [ -n "$(docker ps --quiet --filter label=com.docker.compose.service=bridge-1 \
        --filter "label=com.docker.compose.project=${COMPOSE_PROJECT_NAME:-kafka-bridge}" 2>/dev/null)" ]; then
        BACKEND=compose
    fi
}

BACKEND=${BACKEND:-}
[ -n "$BACKEND" ] || choose_backend "$@"
if [ "$BACKEND" = compose ]; then
    # shellcheck source=chaos/compose/backend.sh
    . "$CHAOS/compose/backend.sh"
else
    # shellcheck source=chaos/lab/backend.sh
    . "$CHAOS/lab/backend.sh"
fi

# Generous, for a machine that does much else: they end what hangs, and measure nothing.
RECOVERY_LIMIT=120
CATCH_UP_LIMIT=300

ATTACHED=no
KEEP=no
TAKEN=0

COMMON_OPTIONS="  --compose           on the compose project that runs (compose/up); so it is without any option too, where it runs
  --lab DIR           in a lab that runs already (chaos/lab.sh up), instead of one of its own
  --target-nodes 1|3  brokers of the target, in a lab of its own
  --keep              keep the lab's logs and data, also when all went well
  --help              this text"
COMMON_CODES="exit code: 0 each record exactly once; 1 a difference, or no recovery; 2 wrong usage;
           3 the fault did not happen, so nothing is proved; 69 something is missing here"

need_value() {
    [ $# -ge 2 ] && [ -n "$2" ] || wrong_usage "$1 needs a value"
}

# An option that all have. TAKEN: how many words.
common_option() {
    TAKEN=1
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --keep) KEEP=yes ;;
        --compose) [ "$BACKEND" = compose ] || wrong_usage "--compose: this is for a lab" ;;
        --lab | --target-nodes)
            need_value "$@"
            TAKEN=2
            case $1 in
                --lab)
                    ATTACHED=yes
                    backend_attach "$2"
                    ;;
                *)
                    [[ $2 == [13] ]] || wrong_usage "--target-nodes $2: 1 or 3"
                    TARGET_NODES=$2
                    ;;
            esac
            ;;
        *) wrong_usage "what is $1?" ;;
    esac
}

# choose_victim 1|2: the bridge that is to suffer, and the one that is to take over.
choose_victim() {
    [[ $1 == [12] ]] || wrong_usage "--bridge $1: 1 or 2"
    # shellcheck disable=SC2034  # The scripts read them.
    victim=bridge-$1 other=bridge-$((3 - $1))
}

# What the victim is and has before the fault: its pid and its lanes, in pid and had.
victim_at_work() {
    pid=$(pid_of "$victim") || no_fault "$victim does not run"
    had=$(lanes_of "$victim")
    [ -n "$had" ] || no_fault "$victim works no lane: nobody would miss it"
}

# other_takes_over MS: the other works all lanes; MS is when the fault came.
other_takes_over() {
    until_true "$RECOVERY_LIMIT" "$other works all lanes" lanes_are_shared "$other" || no_recovery "$other works $(lanes_of "$other")"
    say "$other works lanes $(lanes_of "$other"), $(seconds_since "$1") s after the fault"
}

# broker_end BROKER SIGNAL: it is gone, and nobody can connect to it. Its pid was pid, the signal came at ended_ms.
broker_end() {
    pid=$(pid_of "$1") || no_fault "$1 does not run"
    signal_process "$1" "$2"
    ended_ms=$(now_ms)
    until_true 60 "$1 has ended" is_gone "$1" || no_fault "pid $pid lives"
    # A process that is dead still holds its sockets for a moment.
    until_true 10 "connections fail" cannot_connect bridge "$1" || no_fault "the bridge zone still connects to $1"
    say "$1, pid $pid, was ended by SIG$2 within $(seconds_since "$ended_ms") s; connections from the bridge zone to it fail"
}

# broker_again BROKER: another process of it serves.
broker_again() {
    local again
    broker_start "$1"
    broker_wait "$1"
    again=$(pid_of "$1")
    [ "$again" != "$pid" ] || no_fault "$1 still has pid $pid"
    healed "$1 serves again, pid $again, $(seconds_since "$ended_ms") s after the signal"
}

# A signal ends the script in order, so that what it started is stopped.
scenario_begin() {
    trap 'scenario_end $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    if [ "$ATTACHED" = yes ]; then
        require_machine
        return
    fi
    # To the compose project it is attached by this.
    backend_up
}

scenario_end() {
    local code=$1 keep=$KEEP it
    trap '' INT TERM HUP
    if [ "$ATTACHED" = yes ]; then
        # Somebody else's lab: no fault of ours may stay in it.
        network_heal
        for it in "${BRIDGES[@]}"; do
            if [ "$(state_of "$it" || true)" = T ]; then signal_process "$it" CONT; fi
        done
        backend_detach "$code"
        exit "$code"
    fi
    if [ "$code" -ne 0 ]; then
        keep=yes
        for it in "${BRIDGES[@]}"; do
            if [ -s "$LAB/logs/$it.log" ]; then
                echo "-- the last lines of $it:" >&2
                tail -n 8 "$LAB/logs/$it.log" >&2
            fi
        done
    fi
    backend_down "$keep"
    exit "$code"
}

# The fault was to be seen and was not.
no_fault() {
    say "THE FAULT DID NOT HAPPEN: $1"
    exit "$EXIT_NO_FAULT"
}

no_recovery() {
    say "NOT RECOVERED: $1"
    exit "$EXIT_DIFFERENT"
}

# healed WHAT: from now on the time until all is well is counted.
healed() {
    HEALED_MS=$(now_ms)
    HEALED_BYTES=$(bytes_at target)
    say "$1"
}

# The copy has grown beyond so many bytes.
copies_beyond() {
    [ "$(bytes_at target)" -gt "$1" ]
}

no_catch_up() {
    cat "$LAB/logs/positions.txt" "$LAB/logs/positions.err"
    no_recovery "the copy does not catch up"
}

# Waits for the catch-up, compares everything, and ends the script with the verdict.
judge() {
    until_true "$RECOVERY_LIMIT" "the link's positions can be read" link_mark || no_catch_up
    until_true "$RECOVERY_LIMIT" "records are copied again" copies_beyond "$HEALED_BYTES" || no_recovery "nothing is copied"
    say "records are copied again $(seconds_since "$HEALED_MS") s after the fault's end"
    until_true "$RECOVERY_LIMIT" "two bridges share the lanes" lanes_are_shared "${BRIDGES[@]}" ||
        no_recovery "the bridges work lanes $(lanes_of bridge-1) and $(lanes_of bridge-2)"
    say "both bridges work their share ($(lanes_of bridge-1) and $(lanes_of bridge-2)) $(seconds_since "$HEALED_MS") s after it"
    until_true "$CATCH_UP_LIMIT" "what was written during the fault is copied" link_has_reached || no_catch_up
    say "caught up with all that was written until the fault's end, $(seconds_since "$HEALED_MS") s after it"
    load_stop
    until_true "$CATCH_UP_LIMIT" "no partition lags" link_is_caught_up || no_catch_up
    say "no partition lags; the load was killed amid its transactions, and what it left open must not be copied"
    verdict
}

verdict() {
    local code=0 report="$LAB/logs/verify.txt"
    attend link_command verify >"$report" 2>"$LAB/logs/verify.err" || code=$?
    if [ "$code" -ne 0 ]; then
        cat "$LAB/logs/verify.err"
        grep -v '  clean  ' "$report" | head -n 40
        say "verify ended with $code"
        exit "$EXIT_DIFFERENT"
    fi
    sed -n '/^compared/,$p' "$report" | while read -r line; do say "verify: $line"; done
    # It calls clean what it was able to compare; here it must be everything.
    if grep -qE 'cannot be compared|are not begun' "$report"; then
        say "FAILED: not everything was compared"
        exit "$EXIT_DIFFERENT"
    fi
    [ "$ATTACHED" = no ] || load_again
}

# The next fault is to meet records that flow.
load_again() {
    LOAD_BYTES=$(bytes_at source)
    load_start
    until_true "$START_LIMIT" "the load writes again" writes_again || no_recovery "see $LAB/logs/load.log"
}

writes_again() {
    [ "$(bytes_at source)" -gt "$LOAD_BYTES" ]
}
