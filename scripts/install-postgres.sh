#!/usr/bin/env bash
# Makes sure that there is a PostgreSQL >= 15 the server can start for itself. Nothing to do where DATABASE_URL names one.
set -euo pipefail
[ -z "${DATABASE_URL:-}" ] || exit 0
for initdb in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb "$(command -v initdb || true)"; do
  [ -x "$initdb" ] || continue
  major=$("$initdb" --version | sed -E 's/.* ([0-9]+).*/\1/')
  [ "$major" -lt 15 ] || exit 0
done
sudo=(); [ "$(id -u)" = 0 ] || sudo=(sudo)
# Debian's package starts a cluster of its own; the server brings one, so that would only take memory.
settings=/etc/postgresql-common/createcluster.conf
if [ ! -e "$settings" ]; then
  "${sudo[@]}" mkdir -p "$(dirname "$settings")"
  echo 'create_main_cluster = false' | "${sudo[@]}" tee "$settings" >/dev/null
fi
exec "$(dirname "$0")/install-packages.sh" initdb:postgresql
