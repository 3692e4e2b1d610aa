//! What a server counted per statement digest between two looks: its counters enter, differences under our digests leave. For
//! servers whose traffic is encrypted, or which no agent can sit beside. Counters only rise; where one fell the table was emptied
//! or the server restarted, and what is there since then is the difference. It must never tell what was counted before the first
//! look.

use std::collections::HashMap;

use millrace_mysql::digests::{DIGESTS_MAX, DigestCounters};
use millrace_schemas::digest::{DigestId, Scanner, ServerPrefix, server_text};
use millrace_schemas::sketch::Sketch;

/// What one digest did in one schema, between two looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The schema that was current; empty without one.
    pub schema: String,
    /// Our digest of the server's text; that of `other` for what the server no longer tells apart.
    pub digest: DigestId,
    /// The server's text, without what it puts in front of prepared statements; empty for `other`.
    pub text: String,
    /// Executions.
    pub count: u64,
    /// Executions that failed.
    pub errors: u64,
    /// Time in all.
    pub time_us: u64,
    /// Time spent waiting for table locks.
    pub lock_us: u64,
    /// Rows sent to clients.
    pub rows_sent: u64,
    /// Rows inserted, changed or deleted.
    pub rows_affected: u64,
    /// Rows read by the storage engines.
    pub rows_examined: u64,
}

impl Difference {
    /// How long a call took on average: the server tells sums.
    pub fn mean_us(&self) -> u64 {
        self.time_us.checked_div(self.count).unwrap_or(0)
    }

    /// The times of all calls, each the average.
    pub fn times(&self) -> Sketch {
        let mut times = Sketch::new();
        times.add_n(self.mean_us(), self.count);
        times
    }
}

/// What happened between two looks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// One for each digest and schema that was executed.
    pub rows: Vec<Difference>,
    /// Digests whose counters fell: the table was emptied, or the server restarted.
    pub reset: u64,
    /// Statements that the server counts in its row for all beyond its table (`performance_schema_digests_size`).
    pub beyond: u64,
    /// Digests that came into view with counts of unknown age, because more are there than are read. They count from the next look on.
    pub unknown: u64,
}

/// The counters of a digest at one look.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    count: u64,
    errors: u64,
    time_ps: u64,
    lock_ps: u64,
    rows_sent: u64,
    rows_affected: u64,
    rows_examined: u64,
}

/// Schema and server's digest; without a digest it is the row for all others.
type Key = (Option<String>, Option<String>);

/// Remembers the last look.
#[derive(Debug, Default)]
pub struct Deltas {
    scanner: Scanner,
    before: Option<HashMap<Key, Counted>>,
    /// The last look saw only part of the table.
    cut: bool,
}

impl Deltas {
    /// Nothing was seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a look; nothing to tell at the first.
    pub fn look(&mut self, rows: &[DigestCounters]) -> Option<Differences> {
        let cut = std::mem::replace(&mut self.cut, rows.len() >= DIGESTS_MAX);
        let before = self.before.take();
        let mut found = before.as_ref().map(|_| Differences::default());
        let mut now = HashMap::with_capacity(rows.len());
        for row in rows {
            let (key, counted) = (key(row), Counted::of(row));
            if let (Some(before), Some(found)) = (&before, &mut found)
                && let Some(rise) = counted.rise(before.get(&key).copied(), cut, found)
            {
                self.tell(row, rise, found);
            }
            now.insert(key, counted);
        }
        self.before = Some(now);
        found
    }

    fn tell(&mut self, row: &DigestCounters, rise: Counted, found: &mut Differences) {
        if rise.count == 0 {
            return;
        }
        let told = row.digest.as_ref().and(row.text.as_deref()).map(server_text);
        let (digest, text) = match told {
            // Preparing and closing are no executions; those have a row of their own.
            Some((Some(ServerPrefix::Prepare | ServerPrefix::Deallocate), _)) => return,
            Some((_, text)) => (self.scanner.id_of(text.as_bytes()), text.to_owned()),
            None => {
                found.beyond += rise.count;
                (DigestId::OTHER, String::new())
            }
        };
        found.rows.push(Difference {
            schema: row.schema.clone().unwrap_or_default(),
            digest,
            text,
            count: rise.count,
            errors: rise.errors,
            time_us: rise.time_ps / PS_PER_US,
            lock_us: rise.lock_ps / PS_PER_US,
            rows_sent: rise.rows_sent,
            rows_affected: rise.rows_affected,
            rows_examined: rise.rows_examined,
        });
    }
}

/// The server counts in picoseconds.
const PS_PER_US: u64 = 1_000_000;

fn key(row: &DigestCounters) -> Key {
    (row.schema.clone(), row.digest.clone())
}

impl Counted {
    fn of(row: &DigestCounters) -> Self {
        Self {
            count: row.count,
            errors: row.errors,
            time_ps: row.time_ps,
            lock_ps: row.lock_time_ps,
            rows_sent: row.rows_sent,
            rows_affected: row.rows_affected,
            rows_examined: row.rows_examined,
        }
    }

    /// What was added since the last look, which saw only a part if it was `cut`; none when that cannot be known.
    fn rise(self, before: Option<Self>, cut: bool, found: &mut Differences) -> Option<Self> {
        match before {
            Some(before) if self.is_below(before) => {
                found.reset += 1;
                Some(self)
            }
            Some(before) => Some(self.since(before)),
            None if cut => {
                found.unknown += 1;
                None
            }
            None => Some(self),
        }
    }

    fn is_below(self, before: Self) -> bool {
        self.count < before.count || self.time_ps < before.time_ps
    }

    fn since(self, before: Self) -> Self {
        Self {
            count: self.count - before.count,
            errors: self.errors.saturating_sub(before.errors),
            time_ps: self.time_ps - before.time_ps,
            lock_ps: self.lock_ps.saturating_sub(before.lock_ps),
            rows_sent: self.rows_sent.saturating_sub(before.rows_sent),
            rows_affected: self.rows_affected.saturating_sub(before.rows_affected),
            rows_examined: self.rows_examined.saturating_sub(before.rows_examined),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(digest: Option<&str>, text: &str, count: u64) -> DigestCounters {
        DigestCounters {
            schema: Some("shop".to_owned()),
            digest: digest.map(str::to_owned),
            text: digest.map(|_| text.to_owned()),
            count,
            errors: count / 10,
            time_ps: count * 2_000_000,
            lock_time_ps: count * 1_000_000,
            rows_sent: count,
            rows_affected: 0,
            rows_examined: count * 3,
        }
    }

    fn counts(found: &Differences) -> Vec<(&str, u64)> {
        found.rows.iter().map(|row| (row.text.as_str(), row.count)).collect()
    }

    #[test]
    fn the_first_look_tells_nothing_and_the_second_what_rose() {
        let mut deltas = Deltas::new();
        assert_eq!(deltas.look(&[row(Some("a"), "SELECT ?", 100)]), None);
        let found = deltas.look(&[row(Some("a"), "SELECT ?", 130), row(Some("b"), "DELETE FROM `t`", 7)]).unwrap();
        assert_eq!(counts(&found), [("SELECT ?", 30), ("DELETE FROM `t`", 7)]);
        let first = &found.rows[0];
        assert_eq!((first.time_us, first.lock_us, first.errors, first.rows_examined), (60, 30, 3, 90));
        assert_eq!(first.digest, Scanner::new().id_of(b"select 5"));
        assert_eq!(counts(&deltas.look(&[row(Some("a"), "SELECT ?", 130)]).unwrap()), []);
    }

    #[test]
    fn what_fell_was_set_back_and_counts_from_there() {
        let mut deltas = Deltas::new();
        deltas.look(&[row(Some("a"), "SELECT ?", 100), row(Some("b"), "DO ?", 5)]);
        // The table was emptied: `a` ran four times since, `b` not at all.
        let found = deltas.look(&[row(Some("a"), "SELECT ?", 4)]).unwrap();
        assert_eq!((counts(&found), found.reset), (vec![("SELECT ?", 4)], 1));
        let found = deltas.look(&[row(Some("a"), "SELECT ?", 6), row(Some("b"), "DO ?", 2)]).unwrap();
        assert_eq!((counts(&found), found.reset), (vec![("SELECT ?", 2), ("DO ?", 2)], 0));
    }

    #[test]
    fn what_the_server_does_not_tell_apart_is_told_as_other() {
        let mut deltas = Deltas::new();
        deltas.look(&[row(None, "", 10)]);
        let found = deltas.look(&[row(None, "", 25)]).unwrap();
        assert_eq!((found.rows[0].digest, found.rows[0].count, found.beyond), (DigestId::OTHER, 15, 15));
    }

    #[test]
    fn preparing_is_no_execution() {
        let mut deltas = Deltas::new();
        deltas.look(&[]);
        let all = [
            row(Some("p"), "PREPARE SELECT ?", 3),
            row(Some("e"), "EXECUTE SELECT ?", 30),
            row(Some("d"), "DEALLOCATE SELECT ?", 3),
        ];
        let found = deltas.look(&all).unwrap();
        assert_eq!(counts(&found), [("SELECT ?", 30)]);
        assert_eq!(found.rows[0].digest, Scanner::new().id_of(b"SELECT 1"));
    }

    #[test]
    fn of_a_table_that_is_read_in_part_nothing_old_is_taken_for_new() {
        let mut deltas = Deltas::new();
        let full: Vec<DigestCounters> = (0..DIGESTS_MAX).map(|at| row(Some(&at.to_string()), "DO ?", 9)).collect();
        deltas.look(&full);
        let found = deltas.look(&[row(Some("0"), "DO ?", 10), row(Some("rose into view"), "DO ?", 5_000)]).unwrap();
        assert_eq!((counts(&found), found.unknown), (vec![("DO ?", 1)], 1));
    }
}
