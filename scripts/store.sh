#!/bin/bash
# store.sh fetch           unpacks VictoriaMetrics into a private folder; installs nothing
# store.sh path            prints the program (fetched or not)
# store.sh start DIR PORT  that, and runs it on 127.0.0.1:PORT with its data in DIR, as this very process, until it is stopped
# store.sh influxdb DIR PORT
#                          the same with an InfluxDB 1.6, which answers InfluxQL
# store.sh promtool ARGS     runs Prometheus' promtool, which judges files of rules
#
# They are the time-series stores of the demo and of tests: Debian's packages, whose programs need nothing beside them.
# Everything lies under $MILLRACE_STORES (default ~/.cache/millrace/stores) and needs no root. Repeating a command costs nothing;
# concurrent callers wait.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${MILLRACE_STORES:-${XDG_CACHE_HOME:-${HOME:?store.sh: neither MILLRACE_STORES nor HOME is set}/.cache}/millrace/stores}
. "$here/servers/apt.sh"

# sid: an older suite's VictoriaMetrics takes lines that are none without a word.
suite=${MILLRACE_STORE_SUITE:-sid}
# Raise it when what is unpacked changes: folders of an older format are fetched again.
store_format=1

say() { echo "store: $*" >&2; }
die() { # CODE MESSAGE
    local code=$1
    shift
    say "$@"
    exit "$code"
}

home=$root/victoria-metrics
program=$home/usr/bin/victoria-metrics

# Unpacks package $2, whose title is $3, into $1, unless it is there; its program $4 is tried with $5.
fetch_store() {
    local home=$1 package=$2 title=$3 new=$1.new deb
    if [ "$(head -n 1 "$home/.ok" 2>/dev/null)" = "format $store_format" ]; then return; fi
    say "fetching $title from Debian's $suite (once)"
    rm -rf "$new"
    mkdir -p "$new"
    own_apt "$new/.apt" "$suite" "$title"
    if ! "${apt_get[@]}" update >"$new/log" 2>&1 ||
        ! (cd "$new" && "${apt_get[@]}" download "$package") >>"$new/log" 2>&1; then
        tail -n 15 "$new/log" >&2
        die 2 "could not fetch $title of Debian's $suite; the lines above are apt's"
    fi
    deb=$(find "$new" -maxdepth 1 -name "${package}_*.deb" | head -n 1)
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$new" --no-same-owner ./usr/bin
    dpkg-deb -f "$deb" Version >"$new/version"
    "$new/usr/bin/$4" "$5" >"$new/log" 2>&1 ||
        die 2 "$title of Debian's $suite does not start here: $(head -n 3 "$new/log")"
    rm -rf "$new/.apt" "$deb" "$new/log"
    rm -rf "$home"
    mv -T "$new" "$home"
    echo "format $store_format" >"$home/.ok"
    say "$title $(cat "$home/version") is in $home"
}
fetch_victoria() { fetch_store "$home" victoria-metrics VictoriaMetrics victoria-metrics --version; }

# What an InfluxDB in folder $1 on port $2 is told.
influxdb_settings() {
    cat <<END
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "$1/meta"
[data]
dir = "$1/data"
wal-dir = "$1/wal"
query-log-enabled = false
[http]
bind-address = "127.0.0.1:$2"
log-enabled = false
[monitor]
store-enabled = false
END
}

mkdir -p "$root"
exec 9>"$root/.victoria-metrics.lock"
case ${1:-} in
    path) printf '%s\n' "$program" ;;
    fetch)
        flock 9
        fetch_victoria
        ;;
    start)
        [ $# = 3 ] || die 2 "usage: store.sh start DIR PORT"
        flock 9
        fetch_victoria
        exec 9>&- # the store must not hold the lock while it runs
        # Two samples of one series and millisecond are one: what is sent again counts once. What was just written is
        # queried at once: a person who looks at the demo, and a test, do not wait 30 s.
        exec "$program" -storageDataPath="$2" -httpListenAddr="127.0.0.1:$3" -dedup.minScrapeInterval=1ms \
            -search.latencyOffset=1s -retentionPeriod=1y -loggerLevel=WARN -memory.allowedBytes=256MB
        ;;
    influxdb)
        [ $# = 3 ] || die 2 "usage: store.sh influxdb DIR PORT"
        flock 9
        fetch_store "$root/influxdb" influxdb InfluxDB influxd version
        exec 9>&-
        mkdir -p "$2"
        influxdb_settings "$2" "$3" >"$2/influxdb.conf"
        exec "$root/influxdb/usr/bin/influxd" -config "$2/influxdb.conf"
        ;;
    promtool)
        shift
        flock 9
        fetch_store "$root/promtool" promtool promtool promtool --version
        exec 9>&-
        exec "$root/promtool/usr/bin/promtool" "$@"
        ;;
    *) die 2 "usage: store.sh fetch|path|start DIR PORT|influxdb DIR PORT|promtool ARGS" ;;
esac
