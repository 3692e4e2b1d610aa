#!/bin/bash
# build-deps.sh [--test] [--kafka] [--peers]   makes sure that everything is there that a build needs; with --test also what
# `make test` needs, with --kafka what scripts/kafka.sh needs (`make demo BUS=kafka`; --test has it too, unless
# MILLRACE_KAFKA=none leaves those tests out), with --peers what benchmarks measure against (`make bench-digest`,
# `make bench-wire`, `make bench-live`).
#
# It looks for what a package provides, not for the package, so any distribution that has the pieces will do.
# What is missing is installed with apt when that is possible without a question (root, or sudo without a password);
# otherwise the exact command is printed and the exit code is 2. When nothing is missing nothing is touched.
# It never lets apt remove a package: a Rust that the owner installed is worth more than our convenience.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

with_tests=no with_kafka=no with_peers=no
for option in "$@"; do
    case $option in
        --test)
            with_tests=yes
            [ "${MILLRACE_KAFKA:-}" = none ] || with_kafka=yes
            ;;
        --kafka) with_kafka=yes ;;
        --peers) with_peers=yes ;;
        *)
            echo "usage: build-deps.sh [--test] [--kafka] [--peers]" >&2
            exit 2
            ;;
    esac
done

missing=()
need() { # PACKAGE CHECK...: the package is missing unless the check succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

find_missing() {
    missing=()
    need gcc command -v gcc
    need g++ command -v g++          # librdkafka's build links C++ once Kafka is in
    need libc6-dev test -e /usr/include/stdlib.h
    need make command -v make
    need git command -v git
    need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
    need pkg-config command -v pkg-config
    # Headers, looked for by the files that a compiler would open: pkg-config itself may still be missing.
    need libpcap-dev test -e /usr/include/pcap/pcap.h
    need libssl-dev test -e /usr/include/openssl/ssl.h
    need zlib1g-dev test -e /usr/include/zlib.h
    if ! cargo=$("$here/cargo.sh" --which); then
        missing+=(rustc-web cargo-web)
        if [ $with_tests = yes ]; then missing+=(rust-web-clippy rustfmt-web); fi
    elif [ $with_tests = yes ]; then
        # A rustup shim exists even where its component does not, so the tools are asked, not looked for.
        if ! "$here/cargo.sh" clippy --version >/dev/null 2>&1 || ! "$here/cargo.sh" fmt --version >/dev/null 2>&1; then
            add_rust_components
        fi
    fi
    if [ $with_tests = yes ]; then
        # The console's pages are rendered in a real browser.
        command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
            command -v google-chrome >/dev/null || missing+=(chromium)
        need openssl command -v openssl # packs a login path as the servers' clients have it
        need python3-venv any_python_with_venv # a mail server that alerts are told; and a foreign subscriber, as the README has it
        # A foreign subscriber in C.
        if [ $with_kafka = yes ]; then need kcat command -v kcat; fi
    fi
    if [ $with_kafka = yes ]; then
        # A broker on Java, its jars by Maven, its certificates by openssl. Debian 12's default is the oldest Java that Kafka 4 takes.
        need default-jre-headless java_of_17
        need maven command -v mvn
        need openssl command -v openssl
        # Tests cut the network of a namespace, which only root may make; for others a proxy stands in.
        if [ "$(id -u)" = 0 ]; then need iproute2 command -v ip; fi
    fi
    if [ $with_peers = yes ]; then
        need percona-toolkit command -v pt-query-digest
        need tshark command -v tshark
        need sysbench command -v sysbench
    fi
}

java_of_17() {
    [ "$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1)" -ge 17 ]
}

any_python_with_venv() {
    /usr/bin/python3 -c 'import ensurepip, venv' || python3 -c 'import ensurepip, venv'
}

add_rust_components() {
    if [ "$cargo" = /usr/bin/cargo ]; then
        missing+=(rust-web-clippy rustfmt-web)
    elif command -v rustup >/dev/null; then
        rustup component add clippy rustfmt
    else
        echo "build-deps: $cargo has no clippy or rustfmt, and there is no rustup to add them; install both" >&2
        exit 2
    fi
}

as_root=()
find_root() {
    [ "$(id -u)" = 0 ] && return 0
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        as_root=(sudo -n env DEBIAN_FRONTEND=noninteractive)   # sudo drops our environment
        return 0
    fi
    return 1
}

find_missing
[ ${#missing[@]} = 0 ] && exit 0

install=(apt-get install -y --no-install-recommends "${missing[@]}")
if ! command -v apt-get >/dev/null; then
    echo "build-deps: missing here: ${missing[*]} (named as Debian names them); there is no apt, install them yourself" >&2
    exit 2
fi
if ! find_root; then
    echo "build-deps: missing: ${missing[*]}" >&2
    echo "build-deps: run this as root, then try again:" >&2
    echo "    apt-get update && ${install[*]}" >&2
    exit 2
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "${as_root[@]}" apt-get update -q >"$log" 2>&1; then
    # A third party's broken source must not stop us: if Debian's own lists are there, the install below works.
    echo "build-deps: apt-get update reported a problem, going on: $(grep -m 1 '^[EW]:' "$log" || tail -n 1 "$log")" >&2
fi
removed=$("${as_root[@]}" apt-get install -s --no-install-recommends "${missing[@]}" 2>"$log" | awk '/^Remv /{print $2}') || {
    cat "$log" >&2
    echo "build-deps: apt cannot install: ${missing[*]}" >&2
    exit 2
}
if [ -n "$removed" ]; then
    echo "build-deps: installing ${missing[*]} would remove: $(echo "$removed" | tr '\n' ' ')" >&2
    echo "build-deps: nothing was changed; either remove those yourself or install Rust >= 1.95 with rustup" >&2
    exit 2
fi
echo "build-deps: installing ${missing[*]}" >&2
if ! "${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "build-deps: apt-get install failed" >&2
    exit 2
fi
find_missing
if [ ${#missing[@]} != 0 ]; then
    echo "build-deps: still missing after the installation: ${missing[*]}" >&2
    exit 2
fi
