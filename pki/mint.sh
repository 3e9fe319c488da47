#!/usr/bin/env bash
# Makes an authority for each zone and the certificates that it signs.
#
# An authority of its own for each zone: a key that is stolen in one zone opens nothing in the other.
set -euo pipefail
umask 077

usage() {
    cat <<'END'
usage: pki/mint.sh [--out DIR] [--days N] [--renew] [CERTIFICATE...]

Makes an authority (CA) for each zone and certificates signed by it. What is there already stays as it is.

CERTIFICATE is any of, each as often as needed:
  --broker ZONE/NAME[:SAN,SAN...]   of a broker: it serves, and is a client of other brokers
  --server ZONE/NAME[:SAN,SAN...]   of a server alone, as the console
  --client ZONE/NAME[:SAN,SAN...]   of a bridge, a producer or a consumer
A SAN is a host name or an address; the NAME is always one. Kafka knows the holder as User:CN=NAME.
Without any: what a link between source-kafka and target-kafka needs.

  --out DIR   where to (pki/out)
  --days N    how long new certificates are valid (397); authorities for ten times as long
  --renew     new keys and certificates for all that are named; the authorities stay.
              To replace an authority, move DIR/ZONE away and mint again.
  --help      this text

In DIR/ZONE then are ca.pem and ca.key, and for each NAME
  NAME.pem            the certificate and its authority's      cert_file, and nginx's ssl_certificate
  NAME.key            the private key (PKCS#8, not encrypted)  key_file
  NAME.keystore.pem   both in one file                         Kafka's ssl.keystore.location (ssl.keystore.type=PEM)
ca.key signs; keep it away from brokers and bridges.

example:
  pki/mint.sh --broker source/kafka-1:kafka-1.example.org,10.0.0.11 --client source/bridge --client source/producer
  pki/mint.sh --out /etc/kafka-bridge/pki --days 90 --renew --client target/bridge
END
}

# EX_USAGE of this project's commands.
wrong() {
    printf 'mint: %s\nSee pki/mint.sh --help\n' "$1" >&2
    exit 2
}

fail() {
    printf 'mint: %s\n' "$1" >&2
    exit 1
}

# What openssl says is only of use when it fails.
quietly() {
    local log="$work/openssl.log"
    "$@" >"$log" 2>&1 || fail "openssl failed: $(tail -n 3 "$log")"
}

new_key() {
    quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

# Random, as two authorities of the same name must not give out the same number twice.
serial() {
    printf '0x01%s' "$(openssl rand -hex 15)"
}

is_address() {
    [[ $1 == *:* || $1 =~ ^[0-9]+(\.[0-9]+){3}$ ]]
}

# NAME and SANs as openssl's extension has them.
alternative_names() {
    local list="" name
    for name in "$@"; do
        if is_address "$name"; then list+=",IP:$name"; else list+=",DNS:$name"; fi
    done
    printf '%s' "${list#,}"
}

# The same names as a certificate shows them, sorted: to tell whether it is still the one that is wanted.
names_of() {
    openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | tail -n +2 | tr ',' '\n' |
        sed 's/^ *//; s/^IP Address:/IP:/; /^$/d' | sort | tr '\n' ',' || true
}

usages_of() {
    openssl x509 -in "$1" -noout -ext extendedKeyUsage 2>/dev/null | tail -n +2 | sed 's/^ *//' || true
}

belong_together() {
    [ "$(openssl pkey -in "$2" -pubout 2>/dev/null)" = "$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null)" ]
}

authority() {
    local zone=$1 folder="$out/$1"
    if [ -e "$folder/ca.pem" ] && [ -e "$folder/ca.key" ]; then
        belong_together "$folder/ca.pem" "$folder/ca.key" || fail "$folder/ca.key is not the key of ca.pem beside it"
        openssl x509 -in "$folder/ca.pem" -noout -checkend 0 >/dev/null ||
            fail "the authority $folder/ca.pem has expired: move $folder away and mint again"
        return
    fi
    # Half of an authority: to make another would orphan every certificate that the first has signed.
    if [ -e "$folder/ca.pem" ] || [ -e "$folder/ca.key" ]; then
        fail "$folder has one of ca.pem and ca.key alone: restore the other, or move $folder away"
    fi
    mkdir -p "$folder"
    chmod 755 "$folder"
    cat >"$work/ca.cnf" <<END
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = $zone authority
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
    new_key "$work/ca.key"
    quietly openssl req -new -x509 -sha256 -config "$work/ca.cnf" -key "$work/ca.key" -days $((days * 10)) \
        -set_serial "$(serial)" -out "$work/ca.pem"
    chmod 644 "$work/ca.pem"
    # The key first: a ca.pem never stands there without it.
    mv "$work/ca.key" "$folder/ca.key"
    mv "$work/ca.pem" "$folder/ca.pem"
    printf 'made       %s/ca.pem\n' "$folder"
}

# Why a certificate that is there is not the one that is wanted; nothing when it is.
objection() {
    local folder=$1 name=$2 wanted=$3 usages=$4 file="$1/$2.pem"
    if [ ! -e "$folder/$name.key" ] || [ ! -e "$folder/$name.keystore.pem" ]; then
        echo "has lost its key or its keystore"
    elif ! belong_together "$file" "$folder/$name.key"; then
        echo "does not belong to the key beside it"
    elif ! openssl verify -CAfile "$folder/ca.pem" -no_check_time "$file" >/dev/null 2>&1; then
        echo "is not signed by the authority beside it"
    elif ! openssl x509 -in "$file" -noout -checkend 0 >/dev/null; then
        echo "has expired"
    elif [ "$(names_of "$file")" != "$wanted" ]; then
        echo "has the names $(names_of "$file" | sed 's/,$//'), wanted are ${wanted%,}"
    elif [ "$(usages_of "$file")" != "$usages" ]; then
        echo "is for $(usages_of "$file"), wanted is $usages"
    fi
}

certificate() {
    local kind=$1 zone=$2 name=$3
    shift 3
    local folder="$out/$zone" names usage usages
    names=$(alternative_names "$name" "$@")
    case $kind in
        broker) usage="serverAuth, clientAuth" usages="TLS Web Server Authentication, TLS Web Client Authentication" ;;
        server) usage="serverAuth" usages="TLS Web Server Authentication" ;;
        client) usage="clientAuth" usages="TLS Web Client Authentication" ;;
    esac
    if [ -e "$folder/$name.pem" ] && [ "$is_renewal" = no ]; then
        local why
        why=$(objection "$folder" "$name" "$(tr ',' '\n' <<<"$names" | sort -u | tr '\n' ',')" "$usages")
        [ -z "$why" ] || fail "$folder/$name.pem $why; --renew makes it anew"
        if ! openssl x509 -in "$folder/$name.pem" -noout -checkend $((30 * 86400)) >/dev/null; then
            printf 'expires    %s/%s.pem, in 30 days or less: --renew makes it anew\n' "$folder" "$name"
        fi
        return
    fi
    cat >"$work/leaf.cnf" <<END
[req]
distinguished_name = name
prompt = no
[name]
CN = $name
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = $usage
subjectAltName = $names
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
END
    new_key "$work/leaf.key"
    quietly openssl req -new -config "$work/leaf.cnf" -key "$work/leaf.key" -out "$work/leaf.csr"
    quietly openssl x509 -req -sha256 -in "$work/leaf.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" \
        -set_serial "$(serial)" -days "$days" -extfile "$work/leaf.cnf" -extensions leaf -out "$work/leaf.pem"
    cat "$work/leaf.pem" "$folder/ca.pem" >"$work/chain.pem"
    cat "$work/leaf.key" "$work/chain.pem" >"$work/keystore.pem"
    chmod 644 "$work/chain.pem"
    mv "$work/leaf.key" "$folder/$name.key"
    mv "$work/keystore.pem" "$folder/$name.keystore.pem"
    mv "$work/chain.pem" "$folder/$name.pem"
    printf 'made       %s/%s.pem  %s\n' "$folder" "$name" "$names"
}

wanted=()
out="$(cd "$(dirname "$0")" && pwd)/out" days=397 is_renewal=no
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --renew) is_renewal=yes ;;
        --out | --days | --broker | --server | --client)
            [ $# -ge 2 ] || wrong "$1 needs a value"
            case $1 in
                --out) out=$2 ;;
                --days) days=$2 ;;
                *) wanted+=("${1#--} $2") ;;
            esac
            shift
            ;;
        *) wrong "what is $1?" ;;
    esac
    shift
done
[[ $days =~ ^[1-9][0-9]{0,4}$ ]] || wrong "--days $days: a number from 1 to 99999"
[ -n "$out" ] || wrong "--out needs a folder"
command -v openssl >/dev/null || fail "openssl is missing (Debian: apt-get install openssl)"
if [ ${#wanted[@]} -eq 0 ]; then
    wanted=("broker source/source-kafka:localhost" "client source/bridge" "client source/producer"
        "broker target/target-kafka:localhost" "client target/bridge" "client target/consumer")
fi

# All of it is checked before anything is made.
label='[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?'
for it in "${wanted[@]}"; do
    spec=${it#* }
    [[ $spec =~ ^[A-Za-z0-9_-]+/$label(:[A-Za-z0-9.,:_-]+)?$ ]] ||
        wrong "--${it%% *} $spec: not of the form ZONE/NAME or ZONE/NAME:SAN,SAN"
    name=${spec#*/}
    # They would overwrite the authority.
    [ "${name%%:*}" != ca ] || wrong "--${it%% *} $spec: the name ca is the authority's"
done

mkdir -p "$out" 2>/dev/null || fail "cannot make the folder $out"
chmod 755 "$out"
work=$(mktemp -d "$out/.minting-XXXXXX") || fail "cannot write to $out"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for it in "${wanted[@]}"; do
    kind=${it%% *} spec=${it#* }
    zone=${spec%%/*} rest=${spec#*/}
    name=${rest%%:*}
    sans=()
    if [ "$rest" != "$name" ]; then IFS=, read -ra sans <<<"${rest#*:}"; fi
    authority "$zone"
    certificate "$kind" "$zone" "$name" "${sans[@]}"
done
