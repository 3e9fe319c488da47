# shellcheck shell=bash
# What every script says and how it waits.

# EPOCHREALTIME has the decimal sign of the locale.
export LC_ALL=C

# Exit codes: 0 and 1 are the verdict.
EXIT_DIFFERENT=1     # something differs, or the copy did not catch up
EXIT_USAGE=2
EXIT_NO_FAULT=3      # the fault did not happen: the run proves nothing
EXIT_MISSING=69      # what the lab needs is not there

now_ms() {
    local now=$EPOCHREALTIME
    echo $((${now%.*} * 1000 + 10#${now#*.} / 1000))
}

BEGAN_MS=$(now_ms)

seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%d' $((ms / 1000)) $((ms % 1000 / 100))
}

say() {
    printf '%7s s  %s\n' "$(seconds_since "$BEGAN_MS")" "$1"
}

# The program's name before it: of several in a soak one must be known.
stop_with() {
    printf '%s: %s\n' "${0##*/}" "$2" >&2
    exit "$1"
}

wrong_usage() {
    stop_with "$EXIT_USAGE" "$1 (see ${0##*/} --help)"
}

# A builtin, unlike sleep: a signal ends the wait at once, and nothing stays behind that goes on sleeping.
exec {NEVER}<> <(:)
pause() {
    read -rt "$1" -u "$NEVER" || true
}

# until_true SECONDS WHAT COMMAND...: false after so many seconds, having said what did not come about.
until_true() {
    local limit_ms=$(($1 * 1000)) what=$2 began
    began=$(now_ms)
    shift 2
    until "$@"; do
        if (($(now_ms) - began > limit_ms)); then
            say "FAILED: not within $((limit_ms / 1000)) s: $what"
            return 1
        fi
        pause 0.2
    done
}

# bash runs a trap only when the command in the foreground has ended; so long ones run beside it.
attend() {
    "$@" &
    wait $!
}

# is_number TEXT LEAST
is_number() {
    [[ $1 =~ ^[1-9][0-9]{0,5}$ ]] && [ "$1" -ge "$2" ]
}
