//! A capture by several threads: each reads its share of the connections, which the kernel sorts out, from its own buffer. Their
//! batches enter; what one thread would have told leaves, second by second: rows of one digest are one row again, and which digests
//! have rows of their own is chosen over all of them. It must never tell a second before every thread has closed it.

use std::collections::BTreeMap;
use std::sync::mpsc;

use millrace_schemas::topics::queries::Row;

use super::capture::{Batch, CaptureError};
use super::decoder::Decoder;
use crate::rows;

/// 256 batches that wait to be joined: a minute of four threads that say one a second, and 1.3 s where they say one each 20 ms. A thread
/// that finds no room waits, and the kernel counts what that costs.
const WAITING_MAX: usize = 256;

/// One of so many shares of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) number: usize,
    pub(super) of: usize,
}

impl Share {
    /// All connections.
    pub(super) const WHOLE: Self = Share { number: 0, of: 1 };

    /// So many shares.
    pub(super) fn all(of: usize) -> impl Iterator<Item = Self> {
        (0..of).map(move |number| Share { number, of })
    }

    /// The number of the connection that is the `at`th of this share, from 1 on.
    pub(super) fn number_of(self, at: u64) -> u64 {
        (at - 1) * self.of as u64 + self.number as u64 + 1
    }

    /// Whether the connection with this number is of this share.
    pub(super) fn has(self, number: u64) -> bool {
        (number - 1) % self.of as u64 == self.number as u64
    }
}

/// Lets a thread `capture` with each decoder, and emits their batches joined, until `emit` returns false or all have ended.
pub(super) fn run(
    decoders: Vec<Decoder>,
    capture: impl Fn(Decoder, &mut dyn FnMut(Batch) -> bool) -> Result<(), CaptureError> + Sync,
    mut emit: impl FnMut(Batch) -> bool,
) -> Result<(), CaptureError> {
    let mut joined = Joined::new(decoders.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
        let threads = decoders.into_iter().enumerate().map(|(share, decoder)| {
            let (sender, capture) = (sender.clone(), &capture);
            let work = move || {
                // Nobody listens any more: it ends with its second.
                let outcome = capture(decoder, &mut |batch| sender.send((share, Said::Batch(Box::new(batch)))).is_ok());
                let _ = sender.send((share, Said::Ended(outcome)));
            };
            std::thread::Builder::new().name(format!("capture-{share}")).spawn_scoped(scope, work)
        });
        let threads: Vec<_> = threads.collect();
        drop(sender);
        for thread in &threads {
            if let Err(error) = thread {
                let reason = format!("no thread can be started: {error}");
                return Err(CaptureError::Interface { interface: "a share of it".to_owned(), reason });
            }
        }
        for (share, said) in receiver {
            let batch = match said {
                Said::Batch(batch) => joined.take(share, *batch),
                Said::Ended(Ok(())) => joined.end(share),
                // The others end as nobody listens to them any more.
                Said::Ended(Err(error)) => return Err(error),
            };
            if !emit(batch) {
                return Ok(());
            }
        }
        Ok(())
    })
}

enum Said {
    Batch(Box<Batch>),
    Ended(Result<(), CaptureError>),
}

/// What has come of the shares and waits for the others.
struct Joined {
    /// Until when each share is decoded.
    until_us: Vec<i64>,
    sample_factors: Vec<u32>,
    /// Rows by second, instance and sample factor: what stands for as many can be added up.
    rows: BTreeMap<(i64, String, u32), Vec<Row>>,
}

impl Joined {
    fn new(shares: usize) -> Self {
        Joined { until_us: vec![i64::MIN; shares], sample_factors: vec![1; shares], rows: BTreeMap::new() }
    }

    /// Takes a batch of a share, and gives it back with the rows of the seconds that all shares have closed.
    fn take(&mut self, share: usize, mut batch: Batch) -> Batch {
        self.until_us[share] = self.until_us[share].max(batch.until_us);
        self.sample_factors[share] = batch.sample_factor;
        for row in batch.rows.drain(..) {
            self.rows.entry((row.second, row.instance.to_string(), row.sample_factor)).or_default().push(row);
        }
        self.closed(batch)
    }

    /// A share has come to its end: nobody waits for it any more.
    fn end(&mut self, share: usize) -> Batch {
        self.until_us[share] = i64::MAX;
        self.closed(Batch::default())
    }

    fn closed(&mut self, batch: Batch) -> Batch {
        let until_us = self.until_us.iter().copied().min().unwrap_or(i64::MAX);
        let open = self.rows.split_off(&(until_us.div_euclid(1_000_000), String::new(), 0));
        let closed = std::mem::replace(&mut self.rows, open);
        let rows = closed.into_values().flat_map(|rows| rows::fold(one_each(rows), |row| row.count)).collect();
        // Of an ended share nothing more comes, but the time goes on.
        let until_us = if until_us == i64::MAX { batch.until_us } else { until_us };
        let sample_factor = self.sample_factors.iter().copied().max().unwrap_or(1);
        Batch { until_us, rows, sample_factor, ..batch }
    }
}

/// One row of each schema, user and digest.
fn one_each(rows: Vec<Row>) -> Vec<Row> {
    let mut each: BTreeMap<_, Row> = BTreeMap::new();
    for row in rows {
        let key = (row.digest, row.schema.clone(), row.user.clone());
        match each.get_mut(&key) {
            Some(one) => one.merge(&row),
            None => drop(each.insert(key, row)),
        }
    }
    each.into_values().collect()
}

#[cfg(test)]
mod tests {
    use millrace_schemas::digest::DigestId;
    use millrace_schemas::ids::InstanceId;

    use super::super::table::{Statement, Table};
    use super::*;

    /// The `at`th statement: more digests than have rows of their own, in three seconds.
    fn statement(at: u32) -> Statement {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&(at * at % 5_003).to_be_bytes());
        Statement {
            end_us: i64::from(at % 3) * 1_000_000,
            instance: 0,
            schema: 0,
            user: 0,
            digest: DigestId(id),
            kind: None,
            count: 1,
            error: None,
            rows_sent: 2,
            rows_affected: 0,
            bytes_in: 10,
            bytes_out: 20,
            rt_us: Some((u64::from(at), u64::from(at) * 2)),
        }
    }

    fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
        rows.sort_by_key(|row| (row.second, row.digest, row.sample_factor));
        rows
    }

    #[test]
    fn shares_joined_are_the_rows_of_one() {
        let instances = [InstanceId::parse("db1").expect("legal")];
        let mut whole = Table::new();
        let mut tables = [(); 3].map(|()| Table::new());
        for table in &mut tables {
            table.keep_all(true);
        }
        for at in 0..20_000 {
            whole.add(&statement(at));
            tables[at as usize / 7 % 3].add(&statement(at));
        }
        let expected = sorted(whole.flush(3, &instances).rows);
        assert!(expected.iter().any(|row| row.digest == DigestId::OTHER && row.folded > 0), "too many for a row each");
        let mut joined = Joined::new(3);
        let mut found = Vec::new();
        for (share, table) in tables.iter_mut().enumerate() {
            for second in 1..=3 {
                let rows = table.flush(second, &instances).rows;
                let batch = Batch { rows, until_us: second * 1_000_000, sample_factor: 1, ..Batch::default() };
                let told = joined.take(share, batch);
                assert!(share == 2 || told.rows.is_empty(), "not all shares have closed that second");
                assert!(told.rows.iter().all(|row| row.second < second));
                found.extend(told.rows);
            }
        }
        assert_eq!(sorted(found), expected);
    }

    #[test]
    fn what_stands_for_as_many_is_added_up_and_an_ended_share_is_not_waited_for() {
        let instances = [InstanceId::parse("db1").expect("legal")];
        let mut joined = Joined::new(3);
        let batch = |factor| {
            let mut table = Table::new();
            table.set_sample_factor(factor);
            table.add(&statement(0));
            let rows = table.flush(1, &instances).rows;
            Batch { rows, until_us: 1_000_000, sample_factor: factor, ..Batch::default() }
        };
        assert_eq!(joined.take(0, batch(4)).sample_factor, 4);
        assert_eq!(joined.take(1, batch(4)).sample_factor, 4);
        assert_eq!(joined.take(1, batch(1)).rows.len(), 0);
        let told = sorted(joined.end(2).rows);
        assert_eq!(told.iter().map(|row| (row.sample_factor, row.count)).collect::<Vec<_>>(), [(1, 1), (4, 2)]);
    }

    #[test]
    fn connections_of_all_shares_have_numbers_of_their_own() {
        let numbers = Share::all(3).flat_map(|share| (1..=4).map(move |at| (share, share.number_of(at))));
        let numbers: Vec<(Share, u64)> = numbers.collect();
        let mut all: Vec<u64> = numbers.iter().map(|(_, number)| *number).collect();
        all.sort_unstable();
        assert_eq!(all, (1..=12).collect::<Vec<_>>());
        for (share, number) in numbers {
            assert!(Share::all(3).all(|other| other.has(number) == (other == share)));
        }
    }
}
