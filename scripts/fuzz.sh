#!/bin/bash
# fuzz.sh [TARGET...]   coverage-guided fuzzing of what reads bytes that anybody can send; without names every target of tests/fuzz.
#
# Each target runs SECONDS_EACH seconds (default 600; also `make fuzz SECONDS=60`) from its seeds and from what earlier runs
# found (tests/fuzz/corpus). Exit code 0 only if nothing was found; an input that was found is named, and stays in
# tests/fuzz/artifacts. It needs cargo-fuzz, which it installs with cargo when it is missing, and a C++ compiler; it runs on
# the stable toolchain, because no sanitizer is needed where nothing is unsafe.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

# bash sets SECONDS itself, so the Makefile hands it over under another name.
seconds=${SECONDS_EACH:-600}
case $seconds in
    '' | *[!0-9]* | 0)
        echo "fuzz.sh: SECONDS_EACH=$seconds is no number of seconds; say for instance SECONDS_EACH=600" >&2
        exit 2
        ;;
esac

scripts/build-deps.sh || exit
# 0.13: what this was written for.
PATH=${CARGO_HOME:-${HOME:-/nonexistent}/.cargo}/bin:$PATH
export PATH
if ! command -v cargo-fuzz >/dev/null; then
    echo "fuzz.sh: installing cargo-fuzz" >&2
    if ! scripts/cargo.sh install cargo-fuzz --version '^0.13' --locked; then
        echo "fuzz.sh: cargo-fuzz is missing and could not be installed; run: cargo install cargo-fuzz --version '^0.13' --locked" >&2
        exit 2
    fi
fi

[ $# -gt 0 ] || set -- statements slow_logs frames sessions
# The toolchain that builds Millrace, also where another one comes first in PATH.
cargo=$(scripts/cargo.sh --which) || exit 2
PATH=${cargo%/*}:$PATH

found=0
for target in "$@"; do
    seeds=tests/fuzz/seeds/$target corpus=tests/fuzz/corpus/$target artifacts=tests/fuzz/artifacts/$target
    if [ ! -d "$seeds" ]; then
        echo "fuzz.sh: no target $target; there are: $(cd tests/fuzz/seeds && echo *)" >&2
        exit 2
    fi
    mkdir -p "$corpus" "$artifacts"
    if ! scripts/cargo.sh fuzz build --fuzz-dir tests/fuzz --sanitizer none "$target"; then
        echo "fuzz.sh: $target cannot be built" >&2
        exit 2
    fi
    echo "== $target, $seconds s"
    # A stack that is full ends the process before the fuzzer can keep the input; then it is in this file.
    export MILLRACE_FUZZ_LAST=$PWD/$artifacts/last-input
    rm -f "$MILLRACE_FUZZ_LAST"
    before=$(mktemp)
    # 1 GiB of memory and 10 s an input: both far beyond what any input may cost.
    if scripts/cargo.sh fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" "$corpus" "$seeds" -- \
        -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -max_len=8192 -print_final_stats=1 -verbosity=1; then
        echo "== $target: nothing found"
    else
        found=$((found + 1))
        input=$(find "$artifacts" -type f -newer "$before" ! -name last-input | sort | tail -n 1)
        [ -n "$input" ] || input=$(find "$artifacts" -type f -newer "$before" -name last-input)
        echo "== $target: FAILED, the input is ${input:-not there: the target did not start}" >&2
    fi
    rm -f "$before"
done
[ "$found" = 0 ]
