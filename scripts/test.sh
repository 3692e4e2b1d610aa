#!/bin/bash
# test.sh   every check of the project; `make test` calls it. Arguments go to `cargo test`.
#
# The last line is "N passed, N failed, N skipped": the sum over all test binaries, with formatting and lints as one
# check each. A binary that dies without a result counts as one failure. Exit code 0 only if nothing failed.
# MILLRACE_SAMPLES=DIR   where captures of real servers lie, with what the servers counted; without it their tests are skipped
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

scripts/build-deps.sh --test || exit
for server in mariadb mysql; do
    scripts/servers.sh template "$server" || exit
done

# The tests with real servers start up to three each: more at once than this and they starve each other.
threads=$(nproc 2>/dev/null || echo 2)
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
# The tests that need captures are ignored in the source, so that a run without captures counts them as skipped.
if [ -n "${MILLRACE_SAMPLES:-}" ]; then
    case " $* " in
        *' -- '*) set -- "$@" --include-ignored ;;
        *) set -- "$@" -- --include-ignored ;;
    esac
fi
# One failing binary must not hide the others' results.
scripts/cargo.sh test --workspace --locked --no-fail-fast "$@" 2>&1 | tee "$log"
code=${PIPESTATUS[0]}
# "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s"
read -r p f s < <(awk '/^test result: / { p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }' "$log")
[ "$code" = 0 ] || [ "$f" != 0 ] || f=1
if [ "$s" != 0 ]; then
    echo "== skipped"
    grep -E '^test .* \.\.\. ignored' "$log"
fi
passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
