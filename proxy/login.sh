#!/usr/bin/env bash
# Makes the file of names and passwords that the proxy lets in.
set -euo pipefail
umask 077

usage() {
    cat <<'END'
usage: proxy/login.sh --file FILE NAME            sets a password, from standard input or asked for
       proxy/login.sh --file FILE --remove NAME

Passwords are kept as SHA-512 crypt, by openssl. nginx reads the file anew at each request.

exit code: 0 done; 1 failed; 2 wrong usage

example:
  openssl rand -base64 18 | tee password | proxy/login.sh --file compose/build/pki/proxy/login operator
END
}

wrong() {
    printf 'login: %s (see proxy/login.sh --help)\n' "$1" >&2
    exit 2
}

fail() {
    printf 'login: %s\n' "$1" >&2
    exit 1
}

# Guessing is what a login without a limit of tries invites; the proxy has one, and this is the other half.
LENGTH_LEAST=12

file="" name="" is_removal=no
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --file)
            [ $# -ge 2 ] || wrong "--file needs a name"
            file=$2
            shift
            ;;
        --remove) is_removal=yes ;;
        -*) wrong "what is $1?" ;;
        *)
            [ -z "$name" ] || wrong "one name at a time"
            name=$1
            ;;
    esac
    shift
done
[ -n "$file" ] || wrong "--file is missing"
[[ $name =~ ^[A-Za-z0-9._@-]{1,64}$ ]] || wrong "a name is 1 to 64 of A-Z, a-z, 0-9, '.', '_', '@', '-'"

# Written in place, not replaced: a container that has the file mounted sees a new one not.
others=""
if [ -e "$file" ]; then others=$(grep -v "^${name//./\\.}:" "$file" || true); fi
if [ "$is_removal" = yes ]; then
    { [ -e "$file" ] && grep -q "^${name//./\\.}:" "$file"; } || fail "$file has no $name"
    line=""
else
    command -v openssl >/dev/null || fail "openssl is missing (Debian: apt-get install openssl)"
    if [ -t 0 ]; then
        read -rsp "password of $name: " password
        echo >&2
    else
        read -r password || [ -n "$password" ] || fail "no password on standard input"
    fi
    [ ${#password} -ge "$LENGTH_LEAST" ] || fail "a password has $LENGTH_LEAST characters at least"
    # By a pipe: arguments are for all to see.
    hash=$(printf '%s' "$password" | openssl passwd -6 -stdin) || fail "openssl failed"
    line="$name:$hash"
fi
mkdir -p "$(dirname "$file")"
printf '%s\n' "$others" "$line" | sed '/^$/d' >"$file" || fail "cannot write $file"
