//! The statement scanner under any bytes. In: the bytes of a statement. It must not panic, not need a deep stack, keep within its
//! limits, and find that its own canonical text is its own canonical text; a scanner that was used before must say the same as a
//! new one.
#![no_main]

use std::ffi::OsString;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use millrace_schemas::digest::{Charset, Scanner, SqlMode, Syntax, TEXT_BYTES_MAX, first_word, mask, split};

/// Where the input at hand is written to, if anywhere.
static LAST_INPUT: LazyLock<Option<OsString>> = LazyLock::new(|| std::env::var_os("MILLRACE_FUZZ_LAST"));

/// 128 KiB: what recurses once for each word of a text of 8 KiB does not fit in.
const STACK_BYTES: usize = 128 << 10;
/// Statements up to this length are also tried in a row until the text is full: nesting is as deep as it gets.
const REPEATED_MAX: usize = 24;

fuzz_target!(|sql: &[u8]| {
    // A stack that is full ends the process before the fuzzer can say with which input, so that is written down before.
    if let Some(file) = LAST_INPUT.as_deref() {
        std::fs::write(file, sql).expect("the input can be written to where MILLRACE_FUZZ_LAST says");
    }
    std::thread::scope(|scope| {
        let on_small_stack = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || {
            let mut scanner = Scanner::new();
            for syntax in syntaxes() {
                scanner.read_as(syntax);
                check(&mut scanner, sql);
            }
            if !sql.is_empty() && sql.len() <= REPEATED_MAX {
                // No more than this, since it takes as long as a hundred others.
                let _ = scanner.digest(&sql.repeat(1 + TEXT_BYTES_MAX / sql.len()));
            }
        });
        on_small_stack.expect("a thread starts").join().expect("a panic ends the process before");
    });
});

/// Every mode, and a character set with traps.
fn syntaxes() -> impl Iterator<Item = Syntax> {
    let modes = [(false, false), (true, false), (false, true), (true, true)];
    let gbk = Charset::named("gbk").expect("a set");
    modes.into_iter().flat_map(move |(ansi_quotes, no_backslash_escapes)| {
        let mode = SqlMode { ansi_quotes, no_backslash_escapes };
        [Charset::default(), gbk].map(|charset| Syntax { mode, charset })
    })
}

fn check(scanner: &mut Scanner, sql: &[u8]) {
    let syntax = scanner.syntax();
    let digest = scanner.digest(sql);
    assert_eq!(scanner.id_of(sql), digest.id, "the hot path gives another id");
    assert_eq!(Scanner::reading(syntax).digest(sql), digest, "a new scanner says something else");
    assert!(digest.text.len() <= TEXT_BYTES_MAX, "a text of {} bytes", digest.text.len());
    if !digest.truncated {
        let again = Scanner::new().digest(digest.text.as_bytes());
        assert_eq!(again, digest, "the canonical text is not canonical");
    }
    let _ = scanner.match_key(sql);
    let _ = mask(sql, syntax);
    let mut end = 0;
    let sql = &*syntax.to_utf8(sql);
    for range in split(sql, syntax.mode) {
        assert!(end <= range.start && range.start < range.end && range.end <= sql.len(), "{range:?} behind {end}");
        end = range.end;
    }
    assert!(first_word(sql).len() <= sql.len());
}
