#!/usr/bin/env bash
# Cuts the network between the bridges and the clusters, by packet-filter rules in the bridge zone.
set -euo pipefail
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/partition.sh [--from source|target] [--one-way] [--seconds N] [--lab DIR | --target-nodes 1|3] [--keep]

Cuts the bridges from the clusters while records flow, heals, and proves the copy. Packets are dropped, not refused.
Shown of the cut: the packets that it dropped, connections that fail, and that nothing was copied while it lasted.

  --from source|target  from this cluster alone (from both)
  --one-way             what the bridges send arrives, answers do not (nothing arrives, either way)
  --seconds N           how long, from 6 (20)
$COMMON_OPTIONS

$COMMON_CODES

example:
  sudo chaos/partition.sh --from target --one-way --seconds 15
END
}

sides=(source target) one_way=no seconds=20
while [ $# -gt 0 ]; do
    case $1 in
        --from)
            need_value "$@"
            [[ $2 == source || $2 == target ]] || wrong_usage "--from $2: source or target"
            sides=("$2")
            shift 2
            ;;
        --one-way)
            one_way=yes
            shift
            ;;
        --seconds)
            need_value "$@"
            is_number "$2" 6 || wrong_usage "--seconds $2: a number from 6"
            seconds=$2
            shift 2
            ;;
        *)
            common_option "$@"
            shift "$TAKEN"
            ;;
    esac
done
# What was on its way when the cut came is worked through in this time; then nothing may move.
settle=$((seconds / 3))
watched=$((seconds - settle))

dropped() {
    local direction
    for direction in "${directions[@]}"; do printf '%s: %s  ' "${direction//_/ }" "$(packets cut "$direction")"; done
}

scenario_begin
directions=()
for side in "${sides[@]}"; do
    directions+=("from_$side")
    [ "$one_way" = yes ] || directions+=("to_$side")
done
before_ms=$(now_ms) before=$(bytes_at target)
pause 3
flow=$(($(bytes_at target) - before))
say "before the cut $flow bytes were copied in $(seconds_since "$before_ms") s"

network_cut "${directions[@]}"
cut_ms=$(now_ms)
say "cut for $seconds s: packets ${directions[*]//_/ } are dropped"
pause "$settle"
# Before anything here tries to connect: these are the bridges' own.
# Of both directions together: where nothing arrives, whoever only answers has soon nothing to say.
for side in "${sides[@]}"; do
    met=$(packets cut "from_$side")
    [ "$one_way" = yes ] || met=$((met + $(packets cut "to_$side")))
    [ "$met" -gt 0 ] || no_fault "no packet between the bridges and the $side was dropped in $settle s"
done
[ "$flow" -gt 0 ] || no_fault "nothing was copied before the cut, so it has interrupted nothing"
source_before=$(bytes_at source) target_before=$(bytes_at target)
pause $((watched - ${#sides[@]} * CONNECT_LIMIT > 0 ? watched - ${#sides[@]} * CONNECT_LIMIT : 0))
for side in "${sides[@]}"; do
    host=$(brokers "$side" | head -n 1)
    ! can_connect bridge "$host" || no_fault "the bridge zone still connects to $host"
done
written=$(($(bytes_at source) - source_before)) copied=$(($(bytes_at target) - target_before))
say "during the cut, after $settle s: packets dropped $(dropped)"
say "during the cut: connections from the bridge zone fail; the source has grown by $written bytes, the copy by $copied"
[ "$written" -gt 0 ] || no_fault "the source did not grow: there was nothing to copy"
# The target's coordinator writes abort markers of some bytes for transactions that nobody ends.
[ $((copied * 100)) -lt "$written" ] || no_fault "the copy has grown by $copied bytes meanwhile"

network_heal
healed "healed after $(seconds_since "$cut_ms") s"
judge
