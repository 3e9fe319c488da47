# shellcheck shell=bash
# Processes of the lab, known by name. A script that did not start the lab can kill and start them too, so what is known of
# them stands in files.

# The time of its start tells a process from a later one that was given the same number.
start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    # The program's name, in brackets, may hold anything.
    read -ra stat <<<"${stat##*) }"
    # A zombie is dead; its parent has only not looked yet.
    [ "${stat[0]}" != Z ] && echo "${stat[19]}"
}

# start_process ZONE NAME COMMAND...: in a session of its own, so that Ctrl-C at the terminal reaches the script alone.
start_process() {
    local zone=$1 name=$2
    shift 2
    setsid ip netns exec "$(namespace "$zone")" "$@" </dev/null >>"$LAB/logs/$name.log" 2>&1 &
    echo "$! $(start_time $!)" >"$LAB/pids/$name"
    # Or the shell would tell of each one's end.
    disown
}

# The process's number, if it lives.
pid_of() {
    local pid started
    { read -r pid started <"$LAB/pids/$1"; } 2>/dev/null || return 1
    [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

is_gone() {
    ! pid_of "$1" >/dev/null
}

state_of() {
    local pid
    pid=$(pid_of "$1") && sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status"
}

log_of() {
    echo "$LAB/logs/$1.log"
}

# signal_process NAME SIGNAL
signal_process() {
    local pid
    pid=$(pid_of "$1") || stop_with "$EXIT_DIFFERENT" "$1 does not run any more; its log: $LAB/logs/$1.log"
    kill -s "$2" "$pid"
}

# With its children, which are in its session.
kill_session() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill -s KILL -- "-$pid" 2>/dev/null || true
    until_true 10 "the end of $1" is_gone "$1"
}

# in_zone ZONE COMMAND...
in_zone() {
    local zone=$1
    shift
    ip netns exec "$(namespace "$zone")" "$@"
}
