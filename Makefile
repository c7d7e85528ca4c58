# Every target does its own set-up on a Debian machine that has a Rust toolchain, as root or as a user with sudo.
#   make run            serve, with a private PostgreSQL in ./data
#   make test           everything CI checks
#   make lint           formatting, lints, documentation, purity of the pure crates
#   make bench          loads a fresh server in a temporary directory and measures it (docs/benchmarks.md)
#   make bench-large    the same with a million resources and the searches that these make dear
#   make bench-elasticsearch  the same searches by Postgres and by an index in Elasticsearch, and what that index costs
#   make overload       offers ten times the load that can be served, and looks at what is left of it
#   make soak           kills server, Postgres and listener under load and compares what is there with what was acknowledged (docs/durability.md)
#   make search-soak    SEARCH_COMPARISONS (100,000) random searches against an oracle that reads the specification (docs/search-proof.md),
#                       answered by Postgres, and as many by an index in Elasticsearch
#   make model          200,000 random interactions against a model of their meaning; a failure names its MODEL_SEED
#   make races          32 clients on 10 identities for RACE_SECONDS (60): conditional writes at once, alone and in transactions
#   make fuzz           each fuzz target for FUZZ_SECONDS (600); FUZZ_TARGETS names some of them
#   make microbench     parse, validate, extract, convert in microseconds and allocations (docs/benchmarks.md)
#   make definitions    makes the R5 tables anew from the official packages
#   make test-opensearch  what tests of an index ask of Elasticsearch, asked of an OpenSearch; not part of `make test`, wants Java 21 or later
#   make es             a real local Elasticsearch on 127.0.0.1:9200 (make es-stop ends it)
#   make check-tables   are the committed definition tables what their generator makes of the official packages?
#   make clean-cache    forget what was downloaded for tests

.PHONY: run test test-opensearch bench bench-large bench-elasticsearch overload soak search-soak model races fuzz microbench lint elasticsearch es es-stop check-tables definitions packages clients postgres toolchain clean-cache

# Tests with optimised code: that of releases takes long to link, once for each crate with tests.
OPTIMISED = CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

run: toolchain postgres
	cargo run --release --locked -p fhir-server -- serve

test: toolchain postgres second-postgres clients packages elasticsearch
	scripts/test.sh

# The suites, the indexer with its faults, and the short proof. What starts nodes of Elasticsearch itself is left out.
test-opensearch: toolchain postgres
	scripts/install-packages.sh mvn:maven unzip curl
	FLAVOR=opensearch scripts/es-node.sh fetch
	FLAVOR=opensearch scripts/with-elasticsearch.sh cargo test --workspace --locked --lib --test it -- elastic:: by_index search_index::

model: toolchain postgres
	$(OPTIMISED) MODEL_OPERATIONS=$${MODEL_OPERATIONS:-100000} cargo test --release --locked -p fhir-server --test it -- model:: --nocapture

search-soak: toolchain postgres elasticsearch
	$(OPTIMISED) SEARCH_COMPARISONS=$${SEARCH_COMPARISONS:-100000} scripts/with-elasticsearch.sh cargo test --release --locked -p fhir-storage --lib -- search::tests::proof --nocapture
	$(OPTIMISED) SEARCH_COMPARISONS=$${SEARCH_COMPARISONS:-100000} cargo test --release --locked -p fhir-server --test it -- search_proof:: --nocapture

races: toolchain postgres
	$(OPTIMISED) RACE_SECONDS=$${RACE_SECONDS:-60} cargo test --release --locked -p fhir-server --test it -- identities:: --nocapture

fuzz: toolchain postgres
	scripts/fuzz.sh $(FUZZ_TARGETS)

microbench: toolchain
	cargo bench --locked -p fhir-model -p fhir-definitions -p fhir-search -p hl7-mllp-listener --bench '*'

soak: toolchain postgres search-soak
	scripts/soak.sh

lint: toolchain
	scripts/lint.sh

bench: toolchain postgres
	scripts/bench.sh

bench-large: toolchain postgres
	scripts/bench.sh --load $${BENCH_RESOURCES:-1000000} --settle 90 --requests $${BENCH_REQUESTS:-4000} \
	    --workload identifier,name-birthdate-sort,patient-code-date,code-value,chain-include,has,includes,rare,accurate-total,deep-page,sorted-by-token,create,transaction

bench-elasticsearch: toolchain postgres elasticsearch
	BENCH_ELASTICSEARCH=$${BENCH_ELASTICSEARCH:-start} scripts/bench.sh

overload: toolchain postgres
	scripts/bench.sh --load 10000 --overload

# Without a Maven repository the tests that need it say that they were skipped.
elasticsearch:
	scripts/install-packages.sh java:default-jre-headless mvn:maven unzip curl
	-scripts/es-node.sh fetch

es: elasticsearch
	scripts/es-node.sh start

es-stop:
	scripts/es-node.sh stop

check-tables: packages
	python3 fhir-server/crates/definitions/r5/generate.py --check

definitions: packages
	python3 fhir-server/crates/definitions/r5/generate.py

# Without a Maven repository the tests that need the packages say that they were skipped.
packages:
	scripts/install-packages.sh java:default-jre-headless mvn:maven unzip python3 xmllint:libxml2-utils
	-scripts/fetch-fhir-packages.sh examples

clients:
	scripts/install-clients.sh

postgres:
	scripts/install-postgres.sh

# What the test of `fhir-server upgrade` moves data to. Without a Maven repository it says that it was skipped.
second-postgres:
	scripts/install-packages.sh java:default-jre-headless mvn:maven unzip xz:xz-utils
	-scripts/fetch-postgres-18.sh

toolchain:
	@scripts/install-packages.sh cc:build-essential
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy

clean-cache:
	rm -rf .cache
