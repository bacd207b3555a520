#!/bin/sh
# PostgreSQL's archive_command: archive-wal.sh "%p" /archive/"%f"
# A log is in the archive whole or not at all, on the disk before PostgreSQL hears so, and is never replaced by another.
set -eu
log=$1 archived=$2
draft="$(dirname "$archived")/.$(basename "$archived").draft"

if [ -e "$archived" ]; then
    # PostgreSQL may ask again after a crash; then it is the same log.
    cmp -s "$log" "$archived" && { rm -f "$draft"; sync "$archived" "$(dirname "$archived")"; exit 0; }
    echo "archive-wal: $archived is there already and is another log; two servers must not share an archive" >&2
    exit 1
fi
cp "$log" "$draft"
sync "$draft"
# A link, unlike a move, fails where a name is taken.
ln "$draft" "$archived"
rm "$draft"
sync "$(dirname "$archived")"
