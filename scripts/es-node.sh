#!/usr/bin/env bash
# es-node.sh fetch|start|stop|status|pid|remove   one private Elasticsearch or OpenSearch node on 127.0.0.1, for tests and for trying things out.
#
# The distributions for integration tests, from Maven Central: a real Elasticsearch without analysis-common, reindex, delete-by-query and
# painless; an OpenSearch with all of its modules. Settings: FLAVOR (elasticsearch, opensearch), VERSION, PORT, TRANSPORT_PORT, HEAP, ES_DIR,
# JAVA_HOME, and
#   MMAP            true: maps index files into memory, as an installed node does
#   NODE_SETTINGS   lines for its configuration; defaults of this script for the same settings are left out
#   NODE_FILES      a folder whose files it has beside its configuration: certificates, users and their roles
#   NODE_PASSWORD   of the user `elastic`; with it the node is asked by https, whatever its certificate
#   NODE_FRESH      not empty: what it had before is forgotten
set -euo pipefail
FLAVOR=${FLAVOR:-elasticsearch}
PORT=${PORT:-9200}
TRANSPORT_PORT=${TRANSPORT_PORT:-$((PORT + 100))}
HEAP=${HEAP:-512m}
declare -A SHA256=(
  [elasticsearch-8.19.21]=215d5f3dbf0609a149f6218a9e47b6ae2df34ebbff3c5754e35f15a5e5393c8a
  [opensearch-3.6.0]=a91faa1dc1cadc78cb278b4f63847e19e1627a4e9de698e14e7efc14ee37b286
)
case $FLAVOR in
  elasticsearch) VERSION=${VERSION:-8.19.21} prefix=ES group=org.elasticsearch.distribution.integ-test-zip java=17 ;;
  opensearch) VERSION=${VERSION:-3.6.0} prefix=OPENSEARCH group=org.opensearch.distribution.integ-test-zip java=21 ;;
  *) echo "FLAVOR: elasticsearch or opensearch" >&2; exit 2 ;;
esac
ACCOUNT=fhir-es # neither of them runs as root

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
name=$FLAVOR-$VERSION
home=$ES_DIR/$name
node=$ES_DIR/node-$name-$PORT

# The version of the Java in a folder: 25.0.3 is 25.
java_version() { sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release" 2>/dev/null; }

# JAVA_HOME, the Java on the PATH, or one beside it, whichever is new enough first.
java_home() {
  local candidate version
  for candidate in "${JAVA_HOME:-}" "$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")" /usr/lib/jvm/*; do
    version=$(java_version "$candidate" || true)
    if [ -x "$candidate/bin/java" ] && [ "${version:-0}" -ge "$java" ]; then
      echo "$candidate"
      return
    fi
  done
  echo "$name wants Java $java or later" >&2
  return 1
}

fetch() {
  [ ! -x "$home/bin/$FLAVOR" ] || return 0
  java_home >/dev/null
  mkdir -p "$ES_DIR"
  local zip=$ES_DIR/$name.zip
  [ -f "$zip" ] || mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    "-Dartifact=$group:$FLAVOR:$VERSION:zip" "-DoutputDirectory=$ES_DIR"
  if [ -n "${SHA256[$name]:-}" ]; then
    echo "${SHA256[$name]}  $zip" | sha256sum --check --quiet -
  else
    echo "no checksum is pinned for $name" >&2
  fi
  unzip -q -o "$zip" -d "$ES_DIR"
}

running() { [ -f "$node/pid" ] && kill -0 "$(cat "$node/pid")" 2>/dev/null; }

# default SETTING VALUE   a line of the configuration, unless there is one.
default() { grep -q "^$1:" "$node/config/$FLAVOR.yml" || echo "$1: $2" >>"$node/config/$FLAVOR.yml"; }

configure() {
  rm -rf "$node/config"
  mkdir -p "$node"/{config,data,logs,tmp}
  cp -r "$home/config/." "$node/config/"
  [ -z "${NODE_FILES:-}" ] || cp "$NODE_FILES"/* "$node/config/"
  printf '%s\n' "${NODE_SETTINGS:-}" >"$node/config/$FLAVOR.yml"
  default cluster.name fhir
  default node.name "node-$PORT"
  default network.host 127.0.0.1
  default http.port "$PORT"
  default transport.port "$TRANSPORT_PORT"
  grep -q '^discovery\.' "$node/config/$FLAVOR.yml" || default discovery.type single-node
  default path.data "$node/data"
  default path.logs "$node/logs"
  default cluster.routing.allocation.disk.threshold_enabled false
  # false makes no demand for a larger vm.max_map_count
  default node.store.allow_mmap "${MMAP:-false}"
  [ ! -d "$home/modules/x-pack-core" ] || default xpack.security.enabled false
  sed -i -E 's/^([0-9:-]*-Xlog:gc)/#\1/' "$node/config/jvm.options"
  [ ${#run[@]} = 0 ] || chown -R "$ACCOUNT" "$node"
}

# Runs a program of the distribution for this node.
program() {
  local program=$1 home_of_java
  shift
  home_of_java=$(java_home)
  cd "$node"
  exec env -i PATH="$PATH" HOME="$node" LANG=C.UTF-8 "${prefix}_PATH_CONF=$node/config" "${prefix}_JAVA_HOME=$home_of_java" \
    "${prefix}_TMPDIR=$node/tmp" "${prefix}_JAVA_OPTS=-Xms$HEAP -Xmx$HEAP" "${run[@]}" "$home/bin/$program" "$@"
}

start() {
  if [ -n "${NODE_FRESH:-}" ]; then remove; fi
  if running; then echo "already running: http://127.0.0.1:$PORT"; return; fi
  fetch
  configure
  local url=http://127.0.0.1:$PORT ask=(curl -fsS -o /dev/null)
  if [ -n "${NODE_PASSWORD:-}" ]; then
    (program elasticsearch-keystore create)
    (program elasticsearch-keystore add --stdin bootstrap.password) <<<"$NODE_PASSWORD"
    url=https://127.0.0.1:$PORT
    ask+=(--insecure --config -)
  fi
  rm -f "$node/pid"
  (program "$FLAVOR" -p "$node/pid" >"$node/console.log" 2>&1) &
  local child=$!
  for _ in $(seq 600); do
    # 503 until the cluster state is recovered, so 200 means that it can be used
    if "${ask[@]}" "$url/_cat/nodes" 2>/dev/null <<<"user = \"elastic:${NODE_PASSWORD:-}\""; then
      echo "ready: $url ($name, heap $HEAP)"
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

remove() {
  ! running || kill -9 "$(cat "$node/pid")"
  while running; do sleep 0.1; done
  rm -rf "$node"
}

status() { if running; then ps -o pid,rss,etime,args= -p "$(cat "$node/pid")" | cut -c1-120; else echo "not running"; fi; }

pid() { cat "$node/pid"; }

case "${1:-start}" in
  fetch | start | stop | status | pid | remove) "${1:-start}" ;;
  *) echo "usage: $0 fetch|start|stop|status|pid|remove" >&2; exit 2 ;;
esac
