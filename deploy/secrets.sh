#!/bin/bash
# Make the secrets that the compose profiles mount as files: deploy/secrets.sh [DIRECTORY]
# What is there already stays as it is. The certificate is one for trying: put your own, chain first and
# key last, into tls.pem. Losing master_key means losing everything that is stored about subjects: keep a
# copy of it elsewhere, apart from backups of the database.
set -euo pipefail

DIRECTORY=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$DIRECTORY"
# Containers run as users that do not exist here and must read the files; the directory keeps others out.
chmod 0700 "$DIRECTORY"
cd "$DIRECTORY"

write() { # write NAME: standard input becomes the file, unless there is one
    [[ ! -e "$1" ]] || { cat >/dev/null; return 0; }
    cat >"$1.new"
    chmod 0444 "$1.new"
    mv "$1.new" "$1"
    echo "made $1"
}

openssl rand -hex 32 | write postgres_password
printf 'postgresql://halflight:%s@postgres/halflight\n' "$(cat postgres_password)" | write database_url
openssl rand -hex 32 | write master_key
openssl rand -hex 32 | write audit_key
openssl rand -hex 16 | write grafana_password
if [[ ! -e tls.pem ]]; then
    trap 'rm -f key.new certificate.new' EXIT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 30 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -keyout key.new -out certificate.new 2>/dev/null
    cat certificate.new key.new | write tls.pem
fi
