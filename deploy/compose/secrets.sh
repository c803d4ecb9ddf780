#!/usr/bin/env bash
# Makes the secrets of compose.yaml for a trial, where they are not there yet. Keep master.key as long as the ledger, and
# apart from its backups: the references of all transactions are made from it.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
chmod 711 secrets

# Containers read them as users of their own, who are nobody on this machine.
make() {
  [ -e "secrets/$1" ] || { (umask 077 && "${@:2}" >"secrets/$1.new") && chmod 644 "secrets/$1.new" && mv "secrets/$1.new" "secrets/$1"; }
}

password() { head -c 24 /dev/urandom | base64 | tr -d '\n/+='; }

make master.key head -c 32 /dev/urandom
make postgres.password password
make redis.password password
