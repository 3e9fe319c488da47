#!/usr/bin/env bash
# Shows that the verdicts of the other scripts can be bad ones: each check is given what it must not let pass.
set -euo pipefail
# Whatever else runs.
BACKEND=lab
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

# Of this bridge, a transaction that is aborted leaves its position behind: whoever goes on from there leaves its records out.
BUG=position_outside_transaction

usage() {
    cat <<END
usage: chaos/self-test.sh [--keep]

In a lab of its own, four times something is wrong, and must be told:
  a path from the source zone to the target zone     is not called isolated
  a cut that no packet meets                         is not called a fault
  bridges that lose records when they take over      partition.sh ends with 1, and verify names the missing records
  a record at the target that no bridge wrote        verify ends with 1, and names the phantom

The bridges with a bug are \$KAFKA_BRIDGE_PLANTED, else built from protocol-tests; a release of it has no bugs.
  --keep              keep the lab's logs and data, also when all went well
  --help              this text

exit code: 0 all four were told; 1 one was not; 2 wrong usage; 69 something is missing here

example:
  sudo chaos/self-test.sh
END
}

while [ $# -gt 0 ]; do
    case $1 in
        --lab | --target-nodes) wrong_usage "$1: the self-test has a lab of its own" ;;
        *) common_option "$@" ;;
    esac
    shift "$TAKEN"
done

planted_binary() {
    local binary=${KAFKA_BRIDGE_PLANTED:-}
    if [ -z "$binary" ]; then
        say "building bridges with a bug" >&2
        # Both packages, as the trials build them: another selection would build the dependencies anew.
        attend cargo build --quiet --manifest-path "$CHAOS/../Cargo.toml" --package kafka-bridge --package protocol-tests \
            --bin kafka-bridge-planted >&2
        binary="${CARGO_TARGET_DIR:-$CHAOS/../target}/debug/kafka-bridge-planted"
    fi
    [ -x "$binary" ] || stop_with "$EXIT_MISSING" "KAFKA_BRIDGE_PLANTED=$binary is not a program"
    realpath "$binary"
}

not_told() {
    say "NOT TOLD: $1"
    exit "$EXIT_DIFFERENT"
}

# partition CODE OPTION...: runs it in this lab; true when it ends with this code.
partition() {
    local expected=$1 code=0
    shift
    attend "$CHAOS/partition.sh" --lab "$LAB" "$@" || code=$?
    say "partition.sh ended with $code"
    [ "$code" = "$expected" ]
}

# Of the last verify.
differences() {
    sed -n "s/^verdict .*DIFFERENT.*$1 \([0-9]*\).*/\1/p" "$LAB/logs/verify.txt"
}

require_machine
planted=$(planted_binary)
scenario_begin

say "1 of 4: the bridge zone becomes a router"
in_zone bridge nft delete chain inet isolation forward
in_zone bridge sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
! network_is_isolated || not_told "source and target zone connect, and are called isolated"
in_zone bridge sh -c 'echo 0 >/proc/sys/net/ipv4/ip_forward'
network_is_isolated || not_told "without forwarding the zones connect"

say "2 of 4: a cut while no bridge runs"
for it in "${BRIDGES[@]}"; do signal_process "$it" KILL; done
for it in "${BRIDGES[@]}"; do until_true 10 "the end of $it" is_gone "$it"; done
partition "$EXIT_NO_FAULT" --seconds 6 || not_told "no packet was dropped, and that was a fault"

say "3 of 4: bridges with the bug $BUG"
echo "$planted" >"$LAB/bridge-binary"
export KAFKA_BRIDGE_PLANTED_BUG=$BUG
for it in "${BRIDGES[@]}"; do bridge_start "$it"; done
until_true "$START_LIMIT" "the bridges share the lanes" lanes_are_shared "${BRIDGES[@]}"
# Its last transactions reach the target, the answers do not come: these are the ones that are aborted.
partition "$EXIT_DIFFERENT" --from target --one-way --seconds 12 || not_told "the copy lacks records, and is called clean"
[ -s "$LAB/logs/verify.txt" ] || not_told "the copy did not get as far as verify"
lost=$(differences missing) phantom=$(differences phantom)
[ "${lost:-0}" -gt 0 ] || not_told "verify ended with 1, and names no missing record"

say "4 of 4: a record at the target that no bridge wrote"
stray_record
if attend link_command verify >"$LAB/logs/verify.txt"; then not_told "verify ended with 0"; fi
say "$(grep '^verdict' "$LAB/logs/verify.txt")"
[ "$(differences phantom)" = $((phantom + 1)) ] || not_told "verify names no phantom"
say "all four were told"
