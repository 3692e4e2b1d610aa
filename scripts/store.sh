#!/bin/bash
# store.sh fetch           unpacks VictoriaMetrics into a private folder; installs nothing
# store.sh path            prints the program (fetched or not)
# store.sh start DIR PORT [OPTIONS]
#                          that, and runs it on 127.0.0.1:PORT with its data in DIR, as this very process, until it is stopped
# store.sh influxdb DIR PORT
#                          the same with an InfluxDB 1.6, which answers InfluxQL
# store.sh prometheus DIR PORT
#                          the same with a Prometheus, which takes remote write
# store.sh alertmanager DIR PORT
#                          the same with an Alertmanager, which tells nobody
# store.sh mail DIR PORT [CERTIFICATE KEY [USER PASSWORD]]
#                          a mail server (aiosmtpd, in a Python of its own) that keeps what it gets in the Maildir DIR; with a
#                          certificate it takes nothing before STARTTLS, with a user nothing before a log-in
# store.sh promtool ARGS     runs Prometheus' promtool, which judges files of rules
# store.sh influxdb2 DIR PORT
#                          runs an InfluxDB 2.7 that `store.sh influxdb2-build` has built
# store.sh influxdb2-build   builds it from its Go module (needs go, cargo, clang, protobuf-compiler, pkg-config; once, some minutes)
# store.sh influxdb2-path    prints the program, if it is there
# store.sh s3 DIR PORT [CERTIFICATE KEY]
#                          a server that speaks S3 (moto, in a Python of its own), over TLS with a certificate; it keeps nothing
# store.sh duckdb SQL        what DuckDB, in a Python of its own, says to SQL: a line of JSON for each row
#
# They are the time-series stores of the demo and of tests, and what alerts are told in tests. Those that are Debian's packages need
# nothing beside their programs.
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
mail_version=1.4.6
s3_version=5.2.5
duckdb_version=2.0.1

say() { echo "store: $*" >&2; }
die() { # CODE MESSAGE
    local code=$1
    shift
    say "$@"
    exit "$code"
}

home=$root/victoria-metrics
program=$home/usr/bin/victoria-metrics

# Unpacks package $2, whose title is $3, into $1, unless it is there; its program $4 is tried with $5. Folders $6 come too.
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
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$new" --no-same-owner ./usr/bin ${6:+"$6"}
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

# A Python in $1 with package $2 of version $3, from the package index that pip is configured for; $4 are its extras.
fetch_python() {
    local home=$1 package=$2 version=$3 python
    if [ "$(cat "$home/.ok" 2>/dev/null)" = "$version" ]; then return; fi
    # The system's own first: one that was built by hand may lack the modules that a venv needs.
    for python in /usr/bin/python3 python3; do
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then break; fi
        python=
    done
    [ -n "$python" ] || die 2 "needs Python with venv (on Debian: apt-get install python3-venv), and there is none here"
    say "installing $package into $home (once)"
    rm -rf "$home"
    if ! { "$python" -m venv "$home" && "$home/bin/pip" install -q "$package${4:-}==$version"; } >"$home.log" 2>&1; then
        tail -n 5 "$home.log" >&2
        die 2 "could not install $package $version; the lines above are pip's"
    fi
    rm -f "$home.log"
    echo "$version" >"$home/.ok"
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
        [ $# -ge 3 ] || die 2 "usage: store.sh start DIR PORT [OPTIONS]"
        flock 9
        fetch_victoria
        exec 9>&- # the store must not hold the lock while it runs
        # Two samples of one series and millisecond are one: what is sent again counts once. What was just written is
        # queried at once: a person who looks at the demo, and a test, do not wait 30 s.
        exec "$program" -storageDataPath="$2" -httpListenAddr="127.0.0.1:$3" -dedup.minScrapeInterval=1ms \
            -search.latencyOffset=1s -retentionPeriod=1y -loggerLevel=WARN -memory.allowedBytes=256MB "${@:4}"
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
    prometheus)
        [ $# = 3 ] || die 2 "usage: store.sh prometheus DIR PORT"
        flock 9
        fetch_store "$root/prometheus" prometheus Prometheus prometheus --version
        exec 9>&-
        mkdir -p "$2"
        echo 'global: {}' >"$2/prometheus.yml"
        exec "$root/prometheus/usr/bin/prometheus" --config.file="$2/prometheus.yml" --storage.tsdb.path="$2/tsdb" \
            --web.listen-address="127.0.0.1:$3" --web.enable-remote-write-receiver --log.level=warn
        ;;
    alertmanager)
        [ $# = 3 ] || die 2 "usage: store.sh alertmanager DIR PORT"
        flock 9
        fetch_store "$root/alertmanager" prometheus-alertmanager Alertmanager prometheus-alertmanager --version ./usr/share
        exec 9>&-
        mkdir -p "$2"
        printf 'route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n' >"$2/alertmanager.yml"
        # It looks for its templates under /usr/share alone: this process has the package's own there, in a namespace of mounts.
        names=(--mount)
        [ "$(id -u)" = 0 ] || names+=(--map-root-user)
        # shellcheck disable=SC2016
        exec unshare "${names[@]}" -- sh -c 'mount --bind "$0/usr/share" /usr/share && exec "$0/usr/bin/prometheus-alertmanager" "$@"' \
            "$root/alertmanager" --config.file="$2/alertmanager.yml" \
            --storage.path="$2" --web.listen-address="127.0.0.1:$3" --cluster.listen-address=
        ;;
    mail)
        [ $# = 3 ] || [ $# = 5 ] || [ $# = 7 ] || die 2 "usage: store.sh mail DIR PORT [CERTIFICATE KEY [USER PASSWORD]]"
        flock 9
        fetch_python "$root/mail" aiosmtpd "$mail_version"
        exec 9>&-
        # Its command line knows no log-in.
        if [ $# = 7 ]; then exec "$root/mail/bin/python" "$here/mail.py" "${@:2}"; fi
        tls=()
        if [ $# = 5 ]; then tls=(--tlscert "$4" --tlskey "$5"); fi
        exec "$root/mail/bin/python" -m aiosmtpd -n -l "127.0.0.1:$3" "${tls[@]}" -c aiosmtpd.handlers.Mailbox "$2"
        ;;
    promtool)
        shift
        flock 9
        fetch_store "$root/promtool" promtool promtool promtool --version
        exec 9>&-
        exec "$root/promtool/usr/bin/promtool" "$@"
        ;;
    influxdb2)
        [ $# = 3 ] || die 2 "usage: store.sh influxdb2 DIR PORT"
        [ -x "$root/influxdb2/influxd" ] || die 2 "there is no InfluxDB 2.7: scripts/store.sh influxdb2-build builds one"
        exec 9>&-
        mkdir -p "$2"
        exec "$root/influxdb2/influxd" --bolt-path "$2/bolt" --engine-path "$2/engine" --sqlite-path "$2/sqlite" \
            --http-bind-address "127.0.0.1:$3" --reporting-disabled --log-level warn
        ;;
    influxdb2-build)
        # A lock of its own: nobody else has to wait for minutes.
        exec 9>"$root/.influxdb2.lock"
        flock 9
        . "$here/servers/influxdb2.sh"
        build_influxdb2 "$root/influxdb2"
        ;;
    influxdb2-path)
        if [ -x "$root/influxdb2/influxd" ]; then printf '%s\n' "$root/influxdb2/influxd"; fi
        ;;
    s3)
        [ $# = 3 ] || [ $# = 5 ] || die 2 "usage: store.sh s3 DIR PORT [CERTIFICATE KEY]"
        flock 9
        fetch_python "$root/s3" moto "$s3_version" "[s3,server]"
        exec 9>&-
        tls=()
        if [ $# = 5 ]; then tls=(-s -c "$4" -k "$5"); fi
        exec "$root/s3/bin/python" -m moto.server -H 127.0.0.1 -p "$3" "${tls[@]}"
        ;;
    duckdb)
        [ $# = 2 ] || die 2 "usage: store.sh duckdb SQL"
        flock 9
        fetch_python "$root/duckdb" duckdb "$duckdb_version"
        exec 9>&-
        exec "$root/duckdb/bin/python" -c 'import duckdb, json, sys
answer = duckdb.execute(sys.argv[1])
names = [column[0] for column in answer.description]
for row in answer.fetchall():
    print(json.dumps(dict(zip(names, row)), default=str))' "$2"
        ;;
    *) die 2 "usage: store.sh fetch|path|start DIR PORT [OPTIONS]|influxdb DIR PORT|prometheus DIR PORT|promtool ARGS|\
alertmanager DIR PORT|mail DIR PORT [CERTIFICATE KEY [USER PASSWORD]]|influxdb2 DIR PORT|influxdb2-build|influxdb2-path|s3 DIR PORT [CERTIFICATE KEY]|duckdb SQL" ;;
esac
