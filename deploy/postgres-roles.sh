#!/bin/sh
# Runs once, when the database's volume is empty: the owner role, the application role, and the database.
set -eu

psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set owner_password `cat /run/secrets/database_owner_password`
\set application_password `cat /run/secrets/database_application_password`
CREATE ROLE wattgate_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE wattgate_app LOGIN PASSWORD :'application_password';
CREATE DATABASE wattgate OWNER wattgate_owner;
SQL
