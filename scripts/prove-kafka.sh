#!/bin/bash
# prove-kafka.sh   everything that goes wrong in a fleet, on a real Kafka, with the books of each; `make test-kafka` and, with
# MILLRACE_PROVE=1, `make prove-kafka` call it. One test after the other: each has brokers, roles and servers of its own.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

scripts/build-deps.sh --kafka || exit
scripts/servers.sh template mariadb || exit
scripts/kafka.sh template || exit
exec scripts/cargo.sh test --locked --test main fleets::real_kafka:: -- --nocapture --test-threads 1
