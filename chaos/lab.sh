#!/usr/bin/env bash
# A lab that stays, to look at and to try several faults in.
set -euo pipefail
# Whatever else runs.
BACKEND=lab
# shellcheck source=chaos/lib/scenario.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/scenario.sh"

usage() {
    cat <<END
usage: chaos/lab.sh up [--target-nodes 1|3] [--consoles] [--note FILE]
       chaos/lab.sh exec DIR source|bridge|target COMMAND...
       chaos/lab.sh verify DIR
       chaos/lab.sh down DIR

Three network namespaces (source zone, bridge zone, target zone), a Kafka cluster in each outer one, two bridges between, and a load.
up ends with the lab's folder, DIR; in it are bridge.toml, pki/, logs/. The lab runs until it is taken down.

  --consoles    the bridges have consoles, which this machine reaches; one lab at a time
  --note FILE   DIR is written to FILE, for compose/down

example:
  sudo chaos/lab.sh up
  sudo chaos/partition.sh --lab DIR --seconds 30
  sudo LAB_BRIDGE=me chaos/lab.sh exec DIR bridge kafka-bridge positions --config DIR/bridge.toml
  sudo chaos/lab.sh down DIR
END
}

[ $# -gt 0 ] || wrong_usage "up, exec, verify or down?"
command=$1
shift
case $command in
    up)
        note=""
        while [ $# -gt 0 ]; do
            case $1 in
                --consoles)
                    CONSOLES=yes
                    shift
                    ;;
                --note)
                    need_value "$@"
                    note=$2
                    shift 2
                    ;;
                *)
                    common_option "$@"
                    shift "$TAKEN"
                    ;;
            esac
        done
        [ "$ATTACHED" = no ] || wrong_usage "up starts a lab of its own"
        scenario_begin
        if [ -n "$note" ]; then echo "$LAB" >"$note"; fi
        # It is to stay.
        trap - EXIT
        if [ "$CONSOLES" = yes ]; then
            for it in "${BRIDGES[@]}"; do say "the console of $it: http://$(console_address "$it"):$CONSOLE_PORT/"; done
        fi
        say "${note:+compose/down, or }chaos/lab.sh down $LAB, takes it down"
        echo "$LAB"
        ;;
    exec)
        [ $# -ge 3 ] || wrong_usage "exec needs DIR, a zone and a command"
        backend_attach "$1"
        [[ $2 == source || $2 == bridge || $2 == target ]] || wrong_usage "$2: source, bridge or target"
        in_zone "${@:2}"
        ;;
    verify | down)
        [ $# -eq 1 ] || wrong_usage "$command needs DIR"
        backend_attach "$1"
        if [ "$command" = down ]; then
            backend_down no
        else
            link_command verify
        fi
        ;;
    --help | -h) usage ;;
    *) wrong_usage "what is $command?" ;;
esac
