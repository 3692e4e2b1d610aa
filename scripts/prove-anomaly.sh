#!/usr/bin/env bash
# How good the judgement of anomalies is, and how fast: seeded traffic, some minutes, and then a real server, five minutes more.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/cargo.sh test --release --locked -p millrace-processors --lib -- anomalies::tests::quality::four_weeks --ignored --nocapture
scripts/servers.sh template mysql
exec scripts/cargo.sh test --locked --test main -- real::anomalies --ignored --nocapture
