#!/bin/bash
# prove-kafka.sh   everything that goes wrong in a fleet, on a real Kafka, with the books of each; `make test-kafka` and, with
# MILLRACE_PROVE=1, `make prove-kafka` call it. Each test has brokers, roles and servers of its own: the proof is one after the
# other, so that its figures are a fleet's alone; else two at a time, since they mostly wait.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

scripts/build-deps.sh --kafka || exit
scripts/servers.sh template mariadb || exit
scripts/kafka.sh template || exit
threads=2
if [ -n "${MILLRACE_PROVE:-}" ]; then threads=1; fi
exec scripts/cargo.sh test --locked --test main fleets::real_kafka:: -- --nocapture --test-threads $threads
