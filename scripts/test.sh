#!/bin/bash
# test.sh   every check of the project; `make test` calls it. Arguments go to `cargo test`.
#
# The last line is "N passed, N failed, N skipped": the sum over all test binaries, with formatting and lints as one
# check each. A binary that dies without a result counts as one failure. Exit code 0 only if nothing failed.
# MILLRACE_SAMPLES=DIR      where captures of real servers lie, with what the servers counted; without it their tests are skipped
# MILLRACE_KAFKA=HOST:PORT  the broker that tests share, instead of one that they start; `none` skips all tests with a real Kafka
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

scripts/build-deps.sh --test || exit
for server in mariadb mysql; do
    scripts/servers.sh template "$server" || exit
done
if [ "${MILLRACE_KAFKA:-}" != none ] && ! scripts/kafka.sh template; then
    echo "test.sh: MILLRACE_KAFKA=none leaves out the tests that need a real Kafka, and counts them as skipped" >&2
    exit 2
fi

# The tests with real servers start up to three each: more at once than this and they starve each other. One more than there are
# cores, as most of a test is waiting.
threads=$(($(nproc 2>/dev/null || echo 2) + 1))
[ "$threads" -le 4 ] || threads=4
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$threads}

passed=0 failed=0 skipped=0
check() { # NAME COMMAND...
    local name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "== $name: FAILED"
    fi
}
check "cargo fmt --check" scripts/cargo.sh fmt --all --check
check "cargo clippy" scripts/cargo.sh clippy --workspace --all-targets --locked -- -D warnings

echo "== cargo test"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
case " $* " in
    *' -- '*) ;;
    *) set -- "$@" -- ;;
esac
# The tests that need Kafka lie in modules of that name. They are filtered out, and listed first, since a filtered test leaves no line.
without_kafka=0
if [ "${MILLRACE_KAFKA:-}" = none ]; then
    scripts/cargo.sh test --workspace --locked "$@" --list 2>/dev/null | grep -E '(^|::)real_kafka::.*: test$' >"$log"
    without_kafka=$(wc -l <"$log")
    echo "== skipped, since MILLRACE_KAFKA=none: the $without_kafka tests with a real Kafka"
    cat "$log"
    set -- "$@" --skip real_kafka::
fi
# Whole fleets with brokers and servers of their own come afterwards: beside all other tests they would starve them, and be
# starved. One failing binary must not hide the others' results.
scripts/cargo.sh test --workspace --locked --no-fail-fast "$@" --skip fleets::real_kafka:: 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
if [ "${MILLRACE_KAFKA:-}" != none ]; then
    scripts/prove-kafka.sh 2>&1 | tee -a "$log"
    fleets=${PIPESTATUS[0]}
    [ "$fleets" = 0 ] || code=$fleets
fi
# What needs more than this project fetches is ignored in the source, counted as skipped, and run here where it is there.
with_more=0
with_more() { # ARGUMENTS of cargo test
    local own
    own=$(mktemp)
    scripts/cargo.sh test --locked "$@" 2>&1 | tee "$own"
    [ "${PIPESTATUS[0]}" = 0 ] || code=1
    with_more=$((with_more + $(awk '/^test result: / { n += $4 + $6 } END { print n + 0 }' "$own")))
    cat "$own" >>"$log"
    rm -f "$own"
}
if [ -n "$(scripts/store.sh influxdb2-path)" ]; then with_more -p millrace-sinks --lib -- --ignored influx::; fi
if [ -n "${MILLRACE_SAMPLES:-}" ]; then
    with_more -p millrace-collectors --test wire_samples --test slow_log_samples -- --ignored
    with_more --test main -- --ignored samples::
fi
# "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
read -r p f s < <(awk '/^test result: / { p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }' "$log")
[ "$code" = 0 ] || [ "$f" != 0 ] || f=1
if [ "$s" != 0 ]; then
    echo "== skipped"
    grep -E '^test .* \.\.\. ignored' "$log"
fi
passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s + without_kafka - with_more))
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
