#!/usr/bin/env bash
# es-node.sh fetch|start|stop|status|pid   one private Elasticsearch node on 127.0.0.1, for tests and for trying things out.
#
# Elastic's own distribution for integration tests, from Maven Central: a real Elasticsearch without analysis-common, reindex,
# delete-by-query and painless. Settings: VERSION, PORT, HEAP, ES_DIR, JAVA_HOME; MMAP=true maps index files into memory as an installed node does.
set -euo pipefail
VERSION=${VERSION:-8.19.21}
PORT=${PORT:-9200}
HEAP=${HEAP:-512m}
declare -A SHA256=([8.19.21]=215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a)
JAVA_HOME=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")}
ACCOUNT=fhir-es # Elasticsearch refuses to run as root

run=()
if [ "$(id -u)" = 0 ]; then
  id "$ACCOUNT" >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin "$ACCOUNT"
  run=(setpriv "--reuid=$ACCOUNT" "--regid=$(id -g "$ACCOUNT")" --clear-groups)
fi
if [ -z "${ES_DIR:-}" ]; then
  ES_DIR=$(cd "$(dirname "$0")/.." && pwd)/.cache/elasticsearch
  mkdir -p "$ES_DIR"
  # A clone below /root cannot be entered by the other account.
  "${run[@]}" test -x "$ES_DIR" 2>/dev/null || ES_DIR=/var/tmp/fhir-elasticsearch
fi
home=$ES_DIR/elasticsearch-$VERSION
node=$ES_DIR/node-$VERSION-$PORT

fetch() {
  [ ! -x "$home/bin/elasticsearch" ] || return 0
  mkdir -p "$ES_DIR"
  local zip=$ES_DIR/elasticsearch-$VERSION.zip
  [ -f "$zip" ] || mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    "-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:$VERSION:zip" "-DoutputDirectory=$ES_DIR"
  if [ -n "${SHA256[$VERSION]:-}" ]; then
    echo "${SHA256[$VERSION]}  $zip" | sha256sum --check --quiet -
  else
    echo "no checksum is pinned for $VERSION" >&2
  fi
  unzip -q -o "$zip" -d "$ES_DIR"
}

running() { [ -f "$node/pid" ] && kill -0 "$(cat "$node/pid")" 2>/dev/null; }

start() {
  if running; then echo "already running: http://127.0.0.1:$PORT"; return; fi
  fetch
  rm -rf "$node/config"
  mkdir -p "$node"/{config,data,logs,tmp}
  cp -r "$home/config/." "$node/config/"
  cat >"$node/config/elasticsearch.yml" <<END
cluster.name: fhir
node.name: node-$PORT
network.host: 127.0.0.1
http.port: $PORT
transport.port: $((PORT + 100))
discovery.type: single-node
path.data: $node/data
path.logs: $node/logs
cluster.routing.allocation.disk.threshold_enabled: false
# false makes no demand for a larger vm.max_map_count
node.store.allow_mmap: ${MMAP:-false}
END
  [ ! -d "$home/modules/x-pack-core" ] || echo "xpack.security.enabled: false" >>"$node/config/elasticsearch.yml"
  sed -i -E 's/^([0-9:-]*-Xlog:gc)/#\1/' "$node/config/jvm.options"
  [ ${#run[@]} = 0 ] || chown -R "$ACCOUNT" "$node"
  (
    cd "$node"
    exec env -i PATH="$PATH" HOME="$node" LANG=C.UTF-8 ES_PATH_CONF="$node/config" ES_JAVA_HOME="$JAVA_HOME" ES_TMPDIR="$node/tmp" \
      ES_JAVA_OPTS="-Xms$HEAP -Xmx$HEAP" "${run[@]}" "$home/bin/elasticsearch" -p "$node/pid" >"$node/console.log" 2>&1
  ) &
  local child=$!
  for _ in $(seq 600); do
    # 503 until the cluster state is recovered, so 200 means that it can be used
    if curl -fsS -o /dev/null "http://127.0.0.1:$PORT/_cat/nodes" 2>/dev/null; then
      echo "ready: http://127.0.0.1:$PORT (elasticsearch $VERSION, heap $HEAP)"
      return
    fi
    kill -0 "$child" 2>/dev/null || break
    sleep 0.2
  done
  echo "it did not start; see $node/console.log" >&2
  exit 1
}

stop() {
  running || return 0
  local pid
  pid=$(cat "$node/pid")
  kill "$pid"
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$pid"
}

status() { if running; then ps -o pid,rss,etime,args= -p "$(cat "$node/pid")" | cut -c1-120; else echo "not running"; fi; }

pid() { cat "$node/pid"; }

case "${1:-start}" in
  fetch | start | stop | status | pid) "${1:-start}" ;;
  *) echo "usage: $0 fetch|start|stop|status|pid" >&2; exit 2 ;;
esac
