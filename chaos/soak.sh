#!/usr/bin/env bash
# One fault after the other, drawn at random, in one lab.
set -euo pipefail
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/soak.sh [--minutes N] [--seed N] [--lab DIR | --target-nodes 1|3] [--keep]

Draws faults at random and runs their scripts in one lab, one after the other; each ends with the proof of the whole copy.
The first one that does not end well ends the soak, with its exit code.

  --minutes N         no fault begins later (10)
  --seed N            draws the same faults in the same order (drawn, and told)
$COMMON_OPTIONS

$COMMON_CODES

example:
  sudo chaos/soak.sh --minutes 60 --seed 4711
END
}

# The compose project has what it has.
[ "$BACKEND" = compose ] || TARGET_NODES=3
minutes=10 seed=$((RANDOM % 32767 + 1))
while [ $# -gt 0 ]; do
    case $1 in
        --minutes | --seed)
            need_value "$@"
            is_number "$2" 1 || wrong_usage "$1 $2: a number from 1"
            if [ "$1" = --seed ]; then seed=$2; else minutes=$2; fi
            shift 2
            ;;
        *)
            common_option "$@"
            shift "$TAKEN"
            ;;
    esac
done

# pick WORD...: into PICKED. Not by a subshell, whose draws would not move this shell's generator.
pick() {
    shift $((RANDOM % $#))
    PICKED=$1
}

# Every kind once, in an order that is drawn, before any comes again: a short soak has them all.
kinds=()
draw_kind() {
    local it left=()
    if [ ${#kinds[@]} -eq 0 ]; then
        kinds=(partition kill-bridge freeze-bridge restart-broker)
        if [ "$TARGET_NODES" = 3 ]; then kinds+=(roll-brokers); fi
    fi
    pick "${kinds[@]}"
    for it in "${kinds[@]}"; do [ "$it" = "$PICKED" ] || left+=("$it"); done
    kinds=("${left[@]}")
}

draw() {
    draw_kind
    fault=("$PICKED.sh")
    case $PICKED in
        partition)
            pick "" source target
            if [ -n "$PICKED" ]; then fault+=(--from "$PICKED"); fi
            pick "" --one-way
            if [ -n "$PICKED" ]; then fault+=("$PICKED"); fi
            pick 6 12 20 30
            fault+=(--seconds "$PICKED")
            ;;
        kill-bridge)
            pick 1 2
            fault+=(--bridge "$PICKED")
            ;;
        freeze-bridge)
            pick 1 2
            fault+=(--bridge "$PICKED")
            pick 8 15 25
            fault+=(--seconds "$PICKED")
            ;;
        restart-broker)
            pick source target
            fault+=("$PICKED")
            if [ "$PICKED" = target ] && [ "$TARGET_NODES" = 3 ]; then
                pick 1 2 3
                fault+=(--node "$PICKED")
            fi
            pick "" --graceful
            if [ -n "$PICKED" ]; then fault+=("$PICKED"); fi
            pick 1 5 15
            fault+=(--seconds "$PICKED")
            ;;
        roll-brokers)
            pick "" --kill
            if [ -n "$PICKED" ]; then fault+=("$PICKED"); fi
            ;;
    esac
}

# The script of the moment first: it undoes its fault while there is a lab.
end_running() {
    if [ -n "$running" ]; then
        kill -s TERM "$running" 2>/dev/null || true
        wait "$running" 2>/dev/null || true
    fi
}

running="" done_count=0
say "seed $seed"
scenario_begin
trap 'code=$?; end_running; scenario_end "$code"' EXIT
place=(--lab "$LAB")
[ "$BACKEND" = lab ] || place=(--compose)
began_ms=$(now_ms)
RANDOM=$seed
while (($(now_ms) - began_ms < minutes * 60000)); do
    draw
    done_count=$((done_count + 1))
    say "fault $done_count: chaos/${fault[*]}"
    code=0
    "$CHAOS/${fault[0]}" "${fault[@]:1}" "${place[@]}" &
    running=$!
    wait "$running" || code=$?
    running=""
    if [ "$code" -ne 0 ]; then
        say "fault $done_count ended with $code; seed $seed"
        exit "$code"
    fi
done
say "$done_count faults, each ended with a clean copy; seed $seed"
