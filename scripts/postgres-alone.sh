#!/usr/bin/env bash
# The yardstick beside `make bench` (docs/benchmarks.md): what PostgreSQL alone spends, in milliseconds of CPU, on a create (one statement: a row with
# 1.5 kB of JSON, 12 tokens in a GIN index, a row of dates, a row of the outbox) and on a read by key. No server of ours, no network: pgbench over a
# Unix socket, with the settings of the private PostgreSQL, in a temporary directory. Machines differ, and the same machine from day to day.
#
#     scripts/postgres-alone.sh [SECONDS] [CONNECTIONS]
set -euo pipefail
seconds=${1:-15} connections=${2:-4}
bin=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb 2>/dev/null | sort -V | tail -1)")
directory=$(mktemp -d)
run=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$directory"
    run=(setpriv --reuid postgres --regid postgres --clear-groups)
fi
trap '"${run[@]}" "$bin/pg_ctl" -D "$directory/data" -m immediate -s stop || true; rm -rf "$directory"' EXIT
cd "$directory"
"${run[@]}" "$bin/initdb" -D data -A trust -U postgres --no-instructions >/dev/null
cat >>data/postgresql.conf <<CONF
listen_addresses = ''
unix_socket_directories = '$directory'
shared_buffers = 512MB
wal_compression = lz4
default_toast_compression = lz4
checkpoint_timeout = 15min
max_wal_size = 4GB
jit = off
CONF
"${run[@]}" "$bin/pg_ctl" -D data -s -w -l log start
psql=("$bin/psql" -h "$directory" -U postgres -q)
"${psql[@]}" <<'SQL'
create table resource (key bigint generated always as identity primary key, type smallint not null, version int not null, body jsonb not null, tokens bigint[] not null);
create index on resource using gin (tokens);
create table date (parameter int not null, low bigint not null, high bigint not null, resource bigint not null);
create index on date (parameter, low, resource);
create table outbox (sequence bigint generated always as identity primary key, resource bigint not null);
SQL
{
    for i in $(seq 12); do echo "\\set t$i random(1, 10000000)"; done
    printf "with made as (insert into resource (type, version, body, tokens) values (1, 1, '%s', array[%s]::bigint[]) returning key), dated as (insert into date select 7, :t1, :t1 + 86400, key from made) insert into outbox (resource) select key from made;\n" \
        "{\"resourceType\": \"Patient\", \"text\": \"$(head -c 1050 /dev/urandom | base64 -w 0)\"}" "$(seq -f ':t%g' -s , 12)"
} >create.sql
printf '\\set key random(1, 1000)\nselect body from resource where key = :key;\n' >read.sql
chmod -R a+rX create.sql read.sql

# CPU of the tree of the postmaster, ended children included, in ticks.
ticks() {
    local postmaster
    postmaster=$(head -1 data/postmaster.pid)
    cat /proc/"$postmaster"/stat $(pgrep -P "$postmaster" | sed 's|.*|/proc/&/stat|') 2>/dev/null | sed 's/.*) //' | awk '{ sum += $12 + $13 + $14 + $15 } END { print sum }'
}
for statement in create read; do
    before=$(ticks)
    made=$("$bin/pgbench" -h "$directory" -U postgres -n -M prepared -c "$connections" -j 1 -T "$seconds" -f "$statement.sql" postgres 2>/dev/null |
        sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p')
    awk -v name="$statement" -v ticks=$(($(ticks) - before)) -v hz="$(getconf CLK_TCK)" -v made="$made" \
        'BEGIN { printf "%-8s %8d statements  %.3f ms of CPU each\n", name, made, 1000 * ticks / hz / made }'
done
