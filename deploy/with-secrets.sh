#!/bin/sh
# Puts secrets that are mounted as files into the environment of one process, and becomes that process.
set -eu

if [ -n "${DATABASE_PASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$DATABASE_PASSWORD_FILE")
    export PGPASSWORD
fi
if [ -n "${TOKEN_SECRET_FILE:-}" ]; then
    WATTGATE_TOKEN_SECRET=$(cat "$TOKEN_SECRET_FILE")
    export WATTGATE_TOKEN_SECRET
fi
if [ -n "${BROKER_PASSWORD_FILE:-}" ]; then
    WATTGATE_BROKER_PASSWORD=$(cat "$BROKER_PASSWORD_FILE")
    export WATTGATE_BROKER_PASSWORD
fi

exec "$@"
