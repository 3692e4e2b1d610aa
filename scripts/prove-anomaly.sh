#!/usr/bin/env bash
# How good the judgement of anomalies is, and how fast: seeded traffic, ten minutes, and then a real server of each dialect, five
# minutes each. MILLRACE_SEED=N takes other traffic than it was tuned on; MILLRACE_SERVERS=none leaves the servers out.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/cargo.sh test --release --locked -p millrace-processors --lib -- anomalies::tests::proof:: --ignored --nocapture --test-threads 1
if [ "${MILLRACE_SERVERS:-}" = none ]; then exit 0; fi
scripts/servers.sh template mysql
scripts/servers.sh template mariadb
exec scripts/cargo.sh test --locked --test main -- real::anomalies --ignored --nocapture --test-threads 1
