# Read by bench.sh when BENCH_ELASTICSEARCH is set: what an index in Elasticsearch costs and gives, beside Postgres alone (docs/benchmarks.md).
#
# One Postgres with two servers: one has no index, the other has. Figures without an index are taken before there is one. Arguments go to the load
# driver when it asks searches of both. Settings:
#   BENCH_ELASTICSEARCH         `start` starts a node of its own (es-node.sh); or the URL of one on this machine
#   BENCH_ELASTICSEARCH_PORT    of that node (9250); BENCH_HEAP its heap (1g)
#   BENCH_BESIDE_ADDR           where the server with the index listens (127.0.0.1:18091)
#   BENCH_RESOURCES             what is loaded first (1,000,000)
#   BENCH_MORE                  what is loaded after that, once without and once with the index (100,000)
#   BENCH_REQUESTS              requests a search (4,000)
#   BENCH_WRITES                writes that are looked for at once (5,000), with each of BENCH_CLIENTS ("16 64") connections
#   BENCH_REST                  seconds of rest before the index is made (130)
#   BENCH_REBUILD               not empty: `index rebuild` at the end, too
# Other settings of the server with the index come from the environment (ELASTICSEARCH_…, without ELASTICSEARCH_URL).
resources=${BENCH_RESOURCES:-1000000} more=${BENCH_MORE:-100000} requests=${BENCH_REQUESTS:-4000}
writes=${BENCH_WRITES:-5000} clients=${BENCH_CLIENTS:-16 64}
searches=identifier,name-birthdate-sort,patient-code-date,code-value,chain-include,has,includes,rare,accurate-total,deep-page,sorted-by-token,filtered-total
beside=${BENCH_BESIDE_ADDR:-127.0.0.1:18091}

es=$BENCH_ELASTICSEARCH
started_node=
if [ "$es" = start ]; then
    export PORT="${BENCH_ELASTICSEARCH_PORT:-9250}" HEAP="${BENCH_HEAP:-1g}" MMAP=true
    scripts/es-node.sh start
    started_node=yes es=http://127.0.0.1:$PORT
    # A node whose disk is fuller than 95 % merges no segments.
    curl -fsS -o /dev/null -X PUT -H 'content-type: application/json' -d '{"transient":{"indices.merge.disk.watermark.high":"1gb"}}' "$es/_cluster/settings"
fi
index=bench_$$
# figure NAME JSON   the numbers of a member, summed.
figure() { printf '%s' "$2" | grep -o "\"$1\":[0-9]*" | cut -d: -f2 | awk '{ sum += $1 } END { printf "%d\n", sum }'; }
java=$(figure id "$(curl -fsS "$es/_nodes/_local/process?filter_path=nodes.*.process.id")")
leave_node() {
    for one in $(curl -fsS "$es/_cat/indices/$index-*?h=index"); do curl -fsS -o /dev/null -X DELETE "$es/$one"; done
    [ -z "$started_node" ] || scripts/es-node.sh stop
}
at_end=leave_node

plain=$pids
socket=$(cd "$directory/data/pgsock" && pwd -P | sed 's,/,%2F,g')
export DATABASE_URL="postgres://fhir@$socket:5432/postgres" ELASTICSEARCH_INDEX="$index"
metrics=http://$beside/metrics
who=fhir_search_index_answered_total,fhir_search_index_fallbacks_total
written=fhir_search_index_documents_total,fhir_search_index_batches_total

# with_index FRESHNESS ASKED   starts the server with the index, in place of the one that is there.
with_index() {
    without_index
    start "$directory/log-$1-$2" '"message":"ready"' env ELASTICSEARCH_URL="$es" ELASTICSEARCH_FRESHNESS="$1" ELASTICSEARCH_ASKED="$2" \
        FHIR_DATA_DIR="$directory/beside" FHIR_HTTP_ADDR="$beside" FHIR_MLLP_ADDR=off "$target/fhir-server" serve
    indexed=${pids%% *}
}
indexed=
without_index() {
    [ -z "$indexed" ] || { kill "$indexed" && wait "$indexed" || true; }
    pids=$plain indexed=
}
# drive ADDRESS ARGUMENTS…   the load driver, with the CPU of all there is.
drive() {
    at=$1
    shift
    "$target/load-driver" --base "http://$at/fhir" --pid "$(echo $pids $java | tr ' ' ,)" --data "$directory/data" "$@" ||
        failed="$failed $at:$*"
}
failed=
strong() {
    at=$1
    shift
    for count in $clients; do drive "$at" --loaded "$resources" --workload strong --requests "$writes" --connections "$count" "$@"; done
}
# sizes   what the index and the node take, when segments are merged and what they were merged of is gone.
sizes() {
    for _ in refreshed merged; do
        curl -fsS -o /dev/null -X POST "$es/$index/_refresh"
        sleep 3
        while curl -fsS "$es/_cat/nodes?h=merges.current" | grep -q '[1-9]'; do sleep 1; done
    done
    curl -fsS -o /dev/null -X POST "$es/$index/_flush"
    sleep 12 # as old as sizes may be
    stats=$(curl -fsS "$es/$index/_stats/store?level=cluster&filter_path=_all.primaries")
    count=$(figure count "$(curl -fsS "$es/$index/_count?filter_path=count")")
    bytes=$(figure size_in_bytes "$stats")
    heap=$(curl -fsS "$es/_nodes/_local/stats/jvm?filter_path=nodes.*.jvm.mem")
    echo "index: $count documents, $bytes bytes, $((bytes / (count > 0 ? count : 1))) each; $(curl -fsS "$es/_cat/segments/$index?h=searchable" | grep -c true) segments"
    echo "node: heap $(($(figure heap_used_in_bytes "$heap") >> 20)) MB used of $(($(figure heap_max_in_bytes "$heap") >> 20)), resident $(($(ps -o rss= -p "$java") >> 10)) MB"
}
part() { printf '\n%s: %s\n' "$(date +%T)" "$*"; }

part "$resources resources without an index"
drive "$http" --load "$resources" --only-load
part "writes that are looked for at once, without an index"
strong "$http"
part "$more resources more, without an index"
drive "$http" --loaded "$resources" --load "$more" --only-load
resources=$((resources + more))

# Without an index, what changed is forgotten in a minute or two. Until then it would be written into the new index twice.
sleep "${BENCH_REST:-130}"
part "an index of what is there"
with_index strong always
drive "$beside" --loaded "$resources" --only-load --metrics "$metrics" --counters "$written" \
    --level fhir_search_index_searchable=1,fhir_search_index_waiting=0
sizes
part "$more resources more, with the index"
drive "$beside" --loaded "$resources" --load "$more" --only-load --metrics "$metrics" --counters "$written" \
    --level fhir_search_index_waiting=0
resources=$((resources + more))
sizes
part "searches by Postgres and by the index"
# First to warm up: a node compiles what it runs often.
drive "$beside" --loaded "$resources" --requests $((requests / 2)) --workload "$searches" "$@" >/dev/null
drive "$http" --beside "http://$beside/fhir" --names Postgres,Elasticsearch --loaded "$resources" --requests "$requests" --workload "$searches" \
    --metrics "$metrics" --counters "$who" "$@"
sizes
part "writes that are looked for at once, with the index"
strong "$beside" --metrics "$metrics" --counters "$who"
part "the same, where a search may be behind (eventual)"
with_index eventual always
strong "$beside" --eventual --metrics "$metrics" --counters "$who"
part "searches where the server chooses who answers (by-estimate)"
with_index strong by-estimate
drive "$beside" --loaded "$resources" --requests "$requests" --workload "$searches" --metrics "$metrics" --counters "$who" "$@"
if [ -n "${BENCH_REBUILD:-}" ]; then
    part "index rebuild"
    ELASTICSEARCH_URL=$es "$target/fhir-server" index rebuild
    sizes
fi
part "is the index what it should be?"
ELASTICSEARCH_URL=$es "$target/fhir-server" index verify || failed="$failed verify"
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
