#!/bin/sh
# cargo.sh ARGS...   runs the Rust toolchain that builds Millrace.
# cargo.sh --which   prints the cargo that would be run; exit 1 when there is none that is new enough.
#
# The first cargo that is new enough wins: the one in PATH, then rustup's usual place, then Debian's.
# A machine may well have Debian 12's own Rust 1.63 first in PATH, and must not fail because of it.
set -eu

# What Cargo.toml asks for, so that there is one place to raise it.
wanted=$(sed -n 's/^rust-version = "\([0-9]*\.[0-9]*\).*/\1/p' "$(dirname "$0")/../Cargo.toml")

new_enough() {
    [ -x "$1" ] || return 1
    # "cargo 1.95.0 (f2d3ce0bd 2026-03-21)"; a rustup shim without a toolchain prints nothing and fails.
    version=$("$1" --version 2>/dev/null) || return 1
    version=${version#cargo }
    major=${version%%.*}
    rest=${version#*.}
    minor=${rest%%.*}
    case $major$minor in '' | *[!0-9]*) return 1 ;; esac
    [ $((major * 1000 + minor)) -ge $((${wanted%.*} * 1000 + ${wanted#*.})) ]
}

found=
for candidate in "$(command -v cargo || true)" "${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin/cargo" /usr/bin/cargo; do
    if new_enough "$candidate"; then
        found=$candidate
        break
    fi
done

if [ "${1:-}" = --which ]; then
    [ -n "$found" ] && printf '%s\n' "$found"
    exit
fi
if [ -z "$found" ]; then
    echo "cargo.sh: no Rust >= $wanted here; run scripts/build-deps.sh, which says what to install" >&2
    exit 2
fi
# rustc, rustfmt and clippy must come from the same toolchain as cargo, whatever else is in PATH.
PATH=${found%/*}:$PATH
export PATH
exec "$found" "$@"
