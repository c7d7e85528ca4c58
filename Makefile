# Every target does its own set-up on a Debian machine that has a Rust toolchain, as root or as a user with sudo.
#   make run            serve, with a private PostgreSQL in ./data
#   make test           everything CI checks
#   make lint           formatting, lints, documentation, purity of the pure crates
#   make es             a real local Elasticsearch on 127.0.0.1:9200 (make es-stop ends it)
#   make clean-cache    forget what was downloaded for tests


run: toolchain postgres
	cargo run --release --locked -p fhir-server -- serve

test: toolchain postgres clients
	scripts/test.sh

lint: toolchain
	scripts/lint.sh

es:
	scripts/install-packages.sh java:openjdk-17-jre-headless mvn:maven unzip curl
	scripts/es-node.sh start

es-stop:
	scripts/es-node.sh stop


clients:
	scripts/install-clients.sh

postgres:
	scripts/install-postgres.sh

toolchain:
	@scripts/install-packages.sh cc:build-essential
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy

clean-cache:
	rm -rf .cache
