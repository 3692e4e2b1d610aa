//! What is known about statements, across sources: which digests this agent has seen, and what errors say of how they ended.
//! Digests enter as bytes of statements; ids leave, and each new text once, so that a text crosses the bus once and not once
//! per second. It must never grow without bound.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use millrace_schemas::digest::{self, DigestId, Kind, Scanner, Syntax};

/// Most digests that are remembered. 20,000: ten times what one second may report; at about 40 bytes each they are nothing.
/// Forgetting one costs a repeated text, no more.
pub const KNOWN_DIGESTS_MAX: usize = 20_000;

/// Most new texts that wait to be taken, between two seconds. 5,000 of at most 16 KiB each; what is beyond is forgotten, and
/// handed out when the digest is next seen.
const NEW_DIGESTS_MAX: usize = 5_000;

/// Longest masked sample of a statement that is kept, in bytes: as much as a person reads.
const SAMPLE_BYTES_MAX: usize = 4 << 10;

/// A digest that was seen for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDigest {
    /// The class.
    pub id: DigestId,
    /// Its canonical text.
    pub text: String,
    /// What it does.
    pub kind: Kind,
    /// The tables that it names.
    pub tables: Vec<String>,
    /// The text is that of a part of the statement.
    pub truncated: bool,
    /// The first statement of it, its literals masked.
    pub sample_masked: String,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    kind: Kind,
    last: u64,
}

/// The digests that were seen lately.
#[derive(Debug, Default)]
pub struct Known {
    scanner: Scanner,
    seen: HashMap<DigestId, Seen, RandomState>,
    new: Vec<NewDigest>,
    clock: u64,
    forgotten: u64,
}

impl Known {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Known::default()
    }

    /// The class of a statement, and what it does unless there were too many new ones at once; `cut` says that the bytes are only its
    /// beginning, `syntax` how they are to be read.
    pub fn identify(&mut self, sql: &[u8], cut: bool, syntax: Syntax) -> (DigestId, Option<Kind>) {
        self.scanner.read_as(syntax);
        let id = self.scanner.id_of(sql);
        (id, self.remember(id, sql, cut))
    }

    /// What a statement does whose class is known already.
    pub fn remember(&mut self, id: DigestId, sql: &[u8], cut: bool) -> Option<Kind> {
        self.clock += 1;
        if let Some(seen) = self.seen.get_mut(&id) {
            seen.last = self.clock;
            return Some(seen.kind);
        }
        self.meet(id, sql, cut)
    }

    /// The new digests since the last call, each once.
    pub fn take_new(&mut self) -> Vec<NewDigest> {
        std::mem::take(&mut self.new)
    }

    /// How many digests were forgotten to stay within the limit.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn meet(&mut self, id: DigestId, sql: &[u8], cut: bool) -> Option<Kind> {
        if self.new.len() >= NEW_DIGESTS_MAX {
            self.forgotten += 1;
            return None;
        }
        if self.seen.len() >= KNOWN_DIGESTS_MAX {
            self.forget_oldest();
        }
        let digest = self.scanner.digest(sql);
        self.seen.insert(id, Seen { kind: digest.kind, last: self.clock });
        self.new.push(NewDigest {
            id,
            text: digest.text,
            kind: digest.kind,
            tables: digest.tables,
            truncated: digest.truncated || cut,
            sample_masked: sample(sql, self.scanner.syntax()),
        });
        Some(digest.kind)
    }

    /// Forgets the quarter that was not seen for the longest time: one pass in many insertions.
    fn forget_oldest(&mut self) {
        let mut times: Vec<u64> = self.seen.values().map(|seen| seen.last).collect();
        let quarter = times.len() / 4;
        let (_, limit, _) = times.select_nth_unstable(quarter);
        let limit = *limit;
        let before = self.seen.len();
        self.seen.retain(|_, seen| seen.last > limit);
        self.forgotten += (before - self.seen.len()) as u64;
    }
}

/// The statement without its literals, cut where a person stops reading.
fn sample(sql: &[u8], syntax: Syntax) -> String {
    // A literal may be long: four times the sample is masked, and what is left of it is cut.
    let mut masked = digest::mask(&sql[..sql.len().min(4 * SAMPLE_BYTES_MAX)], syntax);
    if masked.len() > SAMPLE_BYTES_MAX {
        let end = (0..=SAMPLE_BYTES_MAX).rev().find(|at| masked.is_char_boundary(*at)).unwrap_or(0);
        masked.truncate(end);
    }
    masked
}

/// How a statement ended that did not end by itself. Only error numbers tell: a connection that is killed while it does nothing
/// leaves none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Somebody killed it.
    Killed,
    /// It ran into a time limit of its own.
    TimedOut,
}

impl Interruption {
    /// What the number of a server's error says: 1317 is KILL in both flavours, 1927 KILL of the whole connection in MariaDB;
    /// 1969 is `max_statement_time` of MariaDB, 3024 `max_execution_time` of MySQL.
    pub fn of(error: u32) -> Option<Interruption> {
        match error {
            1317 | 1927 => Some(Interruption::Killed),
            1969 | 3024 => Some(Interruption::TimedOut),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_each_text_out_once() {
        let mut known = Known::new();
        let (id, kind) = known.identify(b"select a from t where b = 'secret'", false, Syntax::default());
        assert_eq!(kind, Some(Kind::SELECT));
        assert_eq!(known.identify(b"SELECT a FROM t WHERE b=5", false, Syntax::default()), (id, kind));
        let new = known.take_new();
        assert_eq!(new.len(), 1);
        assert_eq!((new[0].id, new[0].text.as_str()), (id, "SELECT `a` FROM `t` WHERE `b` = ?"));
        assert_eq!(new[0].sample_masked, "select a from t where b = ?");
        known.identify(b"select a from t where b = 1", false, Syntax::default());
        assert!(known.take_new().is_empty());
    }

    #[test]
    fn remembers_a_bounded_number() {
        let mut known = Known::new();
        for i in 0..KNOWN_DIGESTS_MAX + 10 {
            known.identify(format!("select c{i} from t").as_bytes(), false, Syntax::default());
            if i % 1_000 == 0 {
                known.take_new();
            }
        }
        assert!(known.seen.len() <= KNOWN_DIGESTS_MAX);
        assert!(known.forgotten() > 0);
        let latest = format!("select c{} from t", KNOWN_DIGESTS_MAX + 9);
        known.take_new();
        known.identify(latest.as_bytes(), false, Syntax::default());
        assert!(known.take_new().is_empty());
    }
}
