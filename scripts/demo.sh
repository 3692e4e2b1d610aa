#!/bin/bash
# demo.sh   everything from a fresh clone to the running demonstration; `make demo` calls it.
#
# SERVER=mariadb|mysql   which server (default mariadb)      KEEP=1   leave everything running at the end
# STORE=1                the numbers go to a VictoriaMetrics too, which can be asked for them
# ALERTS=1               an Alertmanager is told of the failover too; over Kafka a consumer in Python reads it
# BUS=local|kafka        all roles in one process (default), or each in its own over a real Kafka
# Each step does nothing when its work is done, so the second demo starts in a second.
set -euo pipefail
cd "$(dirname "$0")/.."

server=${SERVER:-mariadb}
case $server in
    mysql | mariadb) ;;
    *)
        echo "demo: SERVER=$server is neither mysql nor mariadb" >&2
        exit 2
        ;;
esac
bus=${BUS:-local}
case $bus in
    local | kafka) ;;
    *)
        echo "demo: BUS=$bus is neither local nor kafka" >&2
        exit 2
        ;;
esac
if [ "$bus" = kafka ]; then scripts/build-deps.sh --kafka; else scripts/build-deps.sh; fi
scripts/servers.sh template "$server"
if [ -n "${STORE:-}" ] && [ "$STORE" != 0 ]; then
    scripts/store.sh fetch
    store=(--store "$PWD/scripts/store.sh")
else
    store=()
fi
told=()
if [ -n "${ALERTS:-}" ] && [ "$ALERTS" != 0 ]; then
    told=(--alerts "$PWD/scripts/store.sh")
    if [ "$bus" = kafka ]; then told+=(--consumer "$(scripts/kafka.sh python)" "$PWD/deploy/examples/subscribe.py"); fi
fi
scripts/cargo.sh build --locked --bin millrace
binary=${CARGO_TARGET_DIR:-target}/debug/millrace

# Capturing packets needs one capability. Root has it; for others it is put on the file where sudo asks no question,
# and where it does the demo itself says what is missing.
if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then
    sudo -n setcap cap_net_raw=ep "$binary" 2>/dev/null || true
fi
arguments=(demo --server "$server" --template "$(scripts/servers.sh path "$server")" "${store[@]}" "${told[@]}")
if [ -n "${KEEP:-}" ] && [ "$KEEP" != 0 ]; then arguments+=(--keep); fi
if [ "$bus" = kafka ]; then
    kafka=$(mktemp -d)
    # When this process ends, however it ends, the broker ends and its folder goes.
    scripts/kafka.sh start "$kafka" --open --parent $$ >/dev/null
    arguments+=(--kafka "$(sed -n 's/^KAFKA_PLAIN=//p' "$kafka/kafka.env")")
fi
exec "$binary" "${arguments[@]}"
