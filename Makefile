# What there is to do here. The work is in scripts/; each target is one line, so that the scripts can be run without make.
#   SERVER=mariadb|mysql   for `demo`; KEEP=1 leaves it running
#   STORE=1                for `demo`: the numbers go to a VictoriaMetrics too, which can be asked for them
#   BUS=local|kafka        for `demo`: all roles in one process, or each in its own over a real Kafka
#   SECONDS=600            for `fuzz`: how long each target runs
#   CARGO_TARGET_DIR       where to build (default: target)
#   MILLRACE_KAFKA         for `test`: host:port of a broker to share, or `none` to skip the tests with a real Kafka
#   MILLRACE_SERVERS       where the unpacked servers lie (default: ~/.cache/millrace/servers)
SERVER ?= mariadb
SECONDS ?= 600
export SERVER KEEP BUS STORE

.DEFAULT_GOAL := help
.PHONY: help demo test test-kafka prove-kafka prove-anomaly servers bench bench-digest bench-wire bench-live fuzz fmt lint doc deps clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## a cluster, its load, a killed primary, a failover and the proof, on loopback (SERVER=mysql, BUS=kafka, STORE=1, ALERTS=1, KEEP=1)
	@exec scripts/demo.sh

test: ## every check, with real MariaDB and MySQL servers; the last line counts them
	@exec scripts/test.sh

test-kafka: deps ## what a fleet has to stand on a real Kafka, in some minutes: 10 kills, faults of 10 s (a part of `make test`)
	@exec scripts/prove-kafka.sh

prove-kafka: deps ## the same with 100 kills and faults of minutes; prints its books
	@MILLRACE_PROVE=1 exec scripts/prove-kafka.sh

prove-anomaly: ## how good the judgement of anomalies is: four weeks of seeded traffic, built for release; prints its table
	@exec scripts/prove-anomaly.sh

servers: ## unpack both servers and Kafka and make their templates, without installing anything
	@scripts/servers.sh template mariadb && scripts/servers.sh template mysql && scripts/kafka.sh template

bench: deps ## the benchmarks, built for release
	@exec scripts/cargo.sh bench --workspace --locked

bench-digest: ## slow logs and digests against pt-query-digest and sqlparser, on the same bytes in the same run
	@scripts/build-deps.sh --peers
	@exec scripts/cargo.sh bench --locked --bench slowlog

bench-wire: ## captures: the whole way from the file to the table against tshark, and compression against bare inflating
	@scripts/build-deps.sh --peers
	@exec scripts/cargo.sh bench --locked --bench wire

bench-live: ## what a live capture costs its host, beside a real server under sysbench's load
	@scripts/build-deps.sh --peers
	@exec scripts/cargo.sh bench --locked --bench live

fuzz: ## coverage-guided fuzzing of statements, slow logs and the wire (SECONDS=600 each)
	@SECONDS_EACH=$(SECONDS) exec scripts/fuzz.sh

fmt: ## format the source
	@exec scripts/cargo.sh fmt --all

lint: ## formatting and lints, as `make test` wants them
	@scripts/cargo.sh fmt --all --check && exec scripts/cargo.sh clippy --workspace --all-targets --locked -- -D warnings

doc: deps ## the API's documentation, in target/doc
	@exec scripts/cargo.sh doc --workspace --no-deps --locked

deps: ## install what a build needs (apt), or say what to install
	@exec scripts/build-deps.sh

clean: ## remove what was built; the unpacked servers stay
	@exec scripts/cargo.sh clean
