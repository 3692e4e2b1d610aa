#!/usr/bin/env bash
# How good the judgement of anomalies is, and how fast: seeded traffic, some minutes. No server is needed.
set -euo pipefail
cd "$(dirname "$0")/.."

exec scripts/cargo.sh test --release --locked -p millrace-processors --lib -- anomalies::tests::quality::four_weeks --ignored --nocapture
