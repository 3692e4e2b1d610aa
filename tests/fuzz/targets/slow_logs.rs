//! The reader of slow logs under any bytes, in both dialects. In: a log, in which two bytes are short for what is long (see
//! `long`). However the log is cut into pieces, the same must be found in it, in the order of the file, without overlaps and
//! within the limits of what is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_collectors::slow_log::{Dialect, Entries, Found, SlowEntry, Unreadable};

/// What the reader says it keeps of a statement.
const SQL_KEPT: usize = 1 << 20;
/// 40,000 bytes: two of them are more than the longest line that is kept in one piece.
const RUN: usize = 40_000;
/// 200 KiB: larger logs make a run slow, and show nothing new.
const LOG_MAX: usize = 200 << 10;

#[derive(Debug, PartialEq)]
enum Part {
    Entry(SlowEntry),
    Unreadable(Unreadable),
}

impl Part {
    fn offset(&self) -> u64 {
        match self {
            Part::Entry(entry) => entry.offset,
            Part::Unreadable(part) => part.offset,
        }
    }
}

fuzz_target!(|short: &[u8]| {
    let log = long(short);
    for dialect in [Dialect::MySql, Dialect::MariaDb] {
        let whole = read(dialect, &log, |_| log.len());
        // Cuts whose places depend on what stands there.
        let cut = read(dialect, &log, |at| 1 + usize::from(log[at]) % 48 * (1 + log.len() / 4096));
        assert_eq!(whole, cut, "what is found depends on how the log is cut");
        check(&whole, log.len() as u64);
    }
});

fn read(dialect: Dialect, log: &[u8], length: impl Fn(usize) -> usize) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut found = |found: Found<'_>| {
        parts.push(match found {
            Found::Entry(entry) => Part::Entry(entry.clone()),
            Found::Unreadable(part) => Part::Unreadable(part),
        });
    };
    let mut entries = Entries::new(dialect, 0);
    let mut at = 0;
    while at < log.len() {
        let end = (at + length(at)).min(log.len());
        entries.take(&log[at..end], &mut found);
        assert!(entries.resume_offset() <= end as u64, "it would begin again behind what it read");
        at = end;
    }
    entries.end(&mut found);
    parts
}

fn check(parts: &[Part], length: u64) {
    let mut end = 0;
    for part in parts {
        assert!(part.offset() >= end, "{part:?} begins before {end}");
        end = match part {
            Part::Entry(entry) => {
                assert!(entry.sql.len() <= SQL_KEPT && entry.sql.len() as u64 <= entry.sql_bytes, "{entry:?}");
                assert!(entry.sure_sql().len() <= entry.sql.len(), "{entry:?}");
                let _ = entry.attributes.pairs().count();
                entry.offset + entry.sql_bytes
            }
            Part::Unreadable(part) => part.offset + part.bytes,
        };
        assert!(end <= length, "{part:?} ends behind the log");
    }
}

/// The log with the byte 1 as a run of the byte before it, and the byte 2 as the line before it 70 times: what the limits are for
/// would be too long for a fuzzer to come upon.
fn long(short: &[u8]) -> Vec<u8> {
    let mut log: Vec<u8> = Vec::new();
    for byte in short {
        match byte {
            1 => {
                let last = log.last().copied().unwrap_or(b'x');
                log.resize(log.len() + RUN, last);
            }
            2 => {
                let begin =
                    log[..log.len().saturating_sub(1)].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let line = log[begin..].to_vec();
                log.extend(line.repeat(70));
            }
            _ => log.push(*byte),
        }
        if log.len() > LOG_MAX {
            log.truncate(LOG_MAX);
            break;
        }
    }
    log
}
