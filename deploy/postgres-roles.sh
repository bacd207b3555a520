#!/bin/sh
# Runs once, when the database's volume is empty: owner, application and backup role, and the database.
set -eu

psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set owner_password `cat /run/secrets/database_owner_password`
\set application_password `cat /run/secrets/database_application_password`
\set backup_password `cat /run/secrets/database_backup_password`
CREATE ROLE wattgate_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE wattgate_app LOGIN PASSWORD :'application_password';
CREATE ROLE wattgate_backup LOGIN REPLICATION PASSWORD :'backup_password';
CREATE DATABASE wattgate OWNER wattgate_owner;
SQL

# The word `all` in this file does not cover replication, which a base backup is.
echo 'host replication wattgate_backup all scram-sha-256' >> "$PGDATA/pg_hba.conf"
