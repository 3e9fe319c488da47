#!/usr/bin/env bash
# Writes nginx's configuration from the template and the environment. A value that could be more than a value is refused.
set -euo pipefail

usage() {
    cat <<'END'
usage: proxy/render.sh FILE

Fills proxy/nginx.conf.template in, from the environment:
  PROXY_UPSTREAMS        HOST:PORT of each bridge's console, with spaces between
  PROXY_CERT_FILE        certificate and its authority's, PEM
  PROXY_KEY_FILE         its key
  PROXY_LOGIN            password (default): PROXY_LOGIN_FILE, of proxy/login.sh; certificate: clients need one of PROXY_CLIENT_CA_FILE
  PROXY_HOSTS            names that it answers to (localhost 127.0.0.1)
  PROXY_HTTPS_LISTEN, PROXY_HTTP_LISTEN, PROXY_HEALTH_LISTEN   ports, or ADDRESS:PORT (8443, 8080, 127.0.0.1:8081)
  PROXY_PUBLIC_PORT      the port that clients use, for the redirect (443)
  PROXY_RATE, PROXY_BURST   requests per address: 20r/s, and 40 above it at once
  PROXY_STREAMS          event streams per address (8)
  PROXY_BODY_MAX         the largest request's body (64k)
  PROXY_UPSTREAM_HOST    the name that consoles are asked by (localhost)
  PROXY_KAFKA_UI         HOST:PORT of a Kafka UI with this context path, to be shown at /kafka-ui/; none without. It may start later
  PROXY_RESOLVER         who is asked for its name, an address (127.0.0.11, as in containers)
  PROXY_TMP              the folder that nginx writes to (/tmp)
  PROXY_ACCESS_LOG       a file, or off (/dev/stdout)

exit code: 0 written; 78 a value is missing or wrong

example:
  PROXY_UPSTREAMS=127.0.0.1:8080 PROXY_CERT_FILE=proxy.pem … proxy/render.sh /tmp/nginx.conf && nginx -c /tmp/nginx.conf
END
}

wrong() {
    printf 'render: %s\n' "$1" >&2
    exit 78
}

# take NAME PATTERN DEFAULT: the variable, if all of it matches; without a default it must be there.
take() {
    local value=${!1:-${3-}}
    [ -n "$value" ] || wrong "$1 is missing"
    [[ $value =~ ^($2)$ ]] || wrong "$1=$value is not of the form $2"
    printf -v "$1" '%s' "$value"
}

case ${1:-} in
    "" | --help | -h)
        usage
        [ $# -gt 0 ] || exit 78
        exit 0
        ;;
esac
host='[A-Za-z0-9.-]+|\[[0-9a-f:]+\]' number='[0-9]{1,7}' path='/[A-Za-z0-9._/-]+'
listen="(($host):)?[0-9]{1,5}"
take PROXY_UPSTREAMS "($host):[0-9]{1,5}( ($host):[0-9]{1,5})*"
take PROXY_CERT_FILE "$path"
take PROXY_KEY_FILE "$path"
take PROXY_LOGIN 'password|certificate' password
take PROXY_HOSTS "($host)( ($host))*" 'localhost 127.0.0.1'
take PROXY_HTTPS_LISTEN "$listen" 8443
take PROXY_HTTP_LISTEN "$listen" 8080
take PROXY_HEALTH_LISTEN "$listen" 127.0.0.1:8081
take PROXY_PUBLIC_PORT '[0-9]{1,5}' 443
take PROXY_RATE "$number(r/s|r/m)" 20r/s
take PROXY_BURST "$number" 40
take PROXY_STREAMS "$number" 8
take PROXY_BODY_MAX "${number}[km]?" 64k
take PROXY_UPSTREAM_HOST "$host" localhost
# Without it there is none.
if [ -n "${PROXY_KAFKA_UI:=}" ]; then take PROXY_KAFKA_UI "($host):[0-9]{1,5}"; fi
take PROXY_RESOLVER "($host)(:[0-9]{1,5})?" 127.0.0.11
take PROXY_TMP "$path" /tmp
take PROXY_ACCESS_LOG "$path|off" /dev/stdout

# What is not taken as it is. All are read below, by their names.
# shellcheck disable=SC2034
UPSTREAM_SERVERS="" PUBLIC_PORT=":$PROXY_PUBLIC_PORT" LOGIN=""
for it in $PROXY_UPSTREAMS; do UPSTREAM_SERVERS+="server $it max_fails=2 fail_timeout=10s; "; done
# shellcheck disable=SC2034
[ "$PROXY_PUBLIC_PORT" != 443 ] || PUBLIC_PORT=""
if [ "$PROXY_LOGIN" = password ]; then
    take PROXY_LOGIN_FILE "$path"
    LOGIN="auth_basic \"kafka-bridge\"; auth_basic_user_file $PROXY_LOGIN_FILE;"
else
    take PROXY_CLIENT_CA_FILE "$path"
    # shellcheck disable=SC2034
    LOGIN="ssl_client_certificate $PROXY_CLIENT_CA_FILE; ssl_verify_client on;"
fi
text=$(<"$(dirname "${BASH_SOURCE[0]}")/nginx.conf.template")
for it in PROXY_TMP PROXY_ACCESS_LOG PROXY_BODY_MAX PROXY_RATE PROXY_BURST PROXY_STREAMS PROXY_CERT_FILE PROXY_KEY_FILE \
    PROXY_HEALTH_LISTEN PROXY_HTTP_LISTEN PROXY_HTTPS_LISTEN PROXY_HOSTS PROXY_UPSTREAM_HOST UPSTREAM_SERVERS PUBLIC_PORT LOGIN PROXY_KAFKA_UI PROXY_RESOLVER; do
    text=${text//"\${$it}"/"${!it}"}
done
[[ $text != *"\${"* ]] || wrong "the template has a place that nothing fills: ${text#*"\${"}"
printf '%s\n' "$text" >"$1"
