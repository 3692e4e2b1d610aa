//! The table: statements enter, one by one, as they end; rows of topic `queries` leave, second by second. Sums are exact: digests
//! beyond the limit are folded into `other`, which says how many it folds. It must never hold more than a few seconds: whoever
//! feeds it flushes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;
use millrace_schemas::digest::{DigestId, Kind};
use millrace_schemas::ids::InstanceId;
use millrace_schemas::sketch::{Bucket, Sketch};
use millrace_schemas::topics::queries::{Row, Source};

use crate::rows::Told;
use crate::statements::Interruption;

/// Most names of users and schemas that are told apart; further ones become `NAME_OF_MANY`. 50,000: more accounts and schemas
/// than servers have, unless someone makes up names.
const NAMES_MAX: usize = 50_000;
/// Stands for names beyond the limit.
const NAME_OF_MANY: &str = "(many)";
/// Most cells of one second. 200,000 of about 400 bytes; statements beyond go into `other` at once.
const CELLS_MAX: usize = 200_000;

/// A statement that ended, or a part of what it did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statement {
    pub(super) end_us: i64,
    pub(super) instance: u32,
    pub(super) schema: u32,
    pub(super) user: u32,
    pub(super) digest: DigestId,
    pub(super) kind: Option<Kind>,
    /// 1, or 0 for rows of a statement that was counted before.
    pub(super) count: u64,
    /// The error that it ended with.
    pub(super) error: Option<u16>,
    pub(super) rows_sent: u64,
    pub(super) rows_affected: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Response times to the first and to the last packet; none when there was no answer.
    pub(super) rt_us: Option<(u64, u64)>,
}

/// How long a statement took, and where that is counted.
struct Took {
    last_us: u64,
    first: Bucket,
    last: Bucket,
}

impl Statement {
    fn took(&self) -> Option<Took> {
        self.rt_us.map(|(first_us, last_us)| {
            let last = Bucket::of(last_us);
            // Most answers are one packet.
            let first = if first_us == last_us { last } else { Bucket::of(first_us) };
            Took { last_us, first, last }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    instance: u32,
    schema: u32,
    user: u32,
    digest: DigestId,
}

#[derive(Debug, Clone, Default)]
struct Cell {
    count: u64,
    errors: u64,
    killed: u64,
    timed_out: u64,
    rows_sent: u64,
    rows_affected: u64,
    bytes_in: u64,
    bytes_out: u64,
    rt_sum_us: u64,
    rt_min_us: u64,
    rt_max_us: u64,
    rt_first: Sketch,
    rt_last: Sketch,
}

impl Cell {
    fn add(&mut self, statement: &Statement, took: Option<&Took>) {
        self.count += statement.count;
        self.errors += u64::from(statement.error.is_some());
        match statement.error.and_then(|code| Interruption::of(code.into())) {
            Some(Interruption::Killed) => self.killed += 1,
            Some(Interruption::TimedOut) => self.timed_out += 1,
            None => {}
        }
        self.rows_sent += statement.rows_sent;
        self.rows_affected += statement.rows_affected;
        self.bytes_in += statement.bytes_in;
        self.bytes_out += statement.bytes_out;
        if let Some(&Took { last_us, first, last }) = took {
            self.rt_min_us = if self.rt_last.is_empty() { last_us } else { self.rt_min_us.min(last_us) };
            self.rt_max_us = self.rt_max_us.max(last_us);
            self.rt_sum_us += last_us;
            self.rt_first.add_in(first, 1);
            self.rt_last.add_in(last, 1);
        }
    }

    fn merge(&mut self, other: &Cell) {
        self.rt_min_us = match (self.rt_last.is_empty(), other.rt_last.is_empty()) {
            (true, _) => other.rt_min_us,
            (_, true) => self.rt_min_us,
            _ => self.rt_min_us.min(other.rt_min_us),
        };
        self.rt_max_us = self.rt_max_us.max(other.rt_max_us);
        self.count += other.count;
        self.errors += other.errors;
        self.killed += other.killed;
        self.timed_out += other.timed_out;
        self.rows_sent += other.rows_sent;
        self.rows_affected += other.rows_affected;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.rt_sum_us += other.rt_sum_us;
        self.rt_first.merge(&other.rt_first);
        self.rt_last.merge(&other.rt_last);
    }
}

/// What one instance did in one second, over all its statements.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// Seconds since 1970-01-01 UTC.
    pub second: i64,
    /// The instance.
    pub instance: InstanceId,
    /// Each of what follows stands for so many, since that one of so many connections was followed.
    pub sample_factor: u32,
    /// Statements, without administrative commands.
    pub statements: u64,
    /// Administrative commands.
    pub admin_commands: u64,
    /// Commits and rollbacks that clients sent.
    pub transactions: u64,
    /// Statements that change rows.
    pub writes: u64,
    /// Statements that failed.
    pub errors: u64,
    /// Rows sent to clients.
    pub rows_sent: u64,
    /// Rows changed.
    pub rows_affected: u64,
    /// Payload bytes from clients.
    pub bytes_in: u64,
    /// Payload bytes to clients.
    pub bytes_out: u64,
    /// Sum of response times to the last packet, of statements.
    pub rt_sum_us: u64,
    /// Response times to the first packet, of statements.
    pub rt_first: Sketch,
    /// Response times to the last packet, of statements.
    pub rt_last: Sketch,
}

/// What a flush gives.
#[derive(Debug, Default)]
pub struct Flushed {
    /// Rows, by second and instance.
    pub rows: Vec<Row>,
    /// Totals of every instance and second that has rows.
    pub totals: Vec<Totals>,
}

#[derive(Debug, Default)]
struct Second {
    /// One of so many connections is followed in it.
    sample_factor: u32,
    cells: HashMap<Key, Cell, FixedState>,
    /// Statements that found no room among the cells, by instance, with how many there were.
    beyond: HashMap<u32, (Cell, u32)>,
    totals: BTreeMap<u32, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    cell: Cell,
    admin_commands: u64,
    transactions: u64,
    writes: u64,
}

/// Statements by second, instance, schema, user and digest.
#[derive(Debug, Default)]
pub(super) struct Table {
    seconds: BTreeMap<i64, Second>,
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
    /// Seconds before this were flushed; what still comes for them counts in this one.
    closed_before: i64,
    /// One of so many connections is followed in seconds that begin now.
    sample_factor: u32,
    /// Who joins these rows with others chooses the digests that have rows of their own.
    all: bool,
}

impl Table {
    pub(super) fn new() -> Self {
        let mut table = Table { closed_before: i64::MIN, sample_factor: 1, ..Table::default() };
        table.name("");
        table.name(NAME_OF_MANY);
        table
    }

    /// A number for a name; 0 stands for none.
    pub(super) fn name(&mut self, name: &str) -> u32 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        if self.names.len() >= NAMES_MAX {
            return 1;
        }
        let name: Arc<str> = name.into();
        let number = self.names.len() as u32;
        self.names.push(Arc::clone(&name));
        self.by_name.insert(name, number);
        number
    }

    /// The name behind a number; none for that of none.
    pub(super) fn known_name(&self, number: u32) -> Option<&Arc<str>> {
        self.names.get(number as usize).filter(|_| number != 0)
    }

    /// In seconds that begin from now on, one of so many connections is followed.
    pub(super) fn set_sample_factor(&mut self, factor: u32) {
        self.sample_factor = factor;
    }

    /// What stands for how many now.
    pub(super) fn sample_factor(&self) -> u32 {
        self.sample_factor
    }

    /// Whether every digest has a row of its own, whatever their number.
    pub(super) fn keep_all(&mut self, all: bool) {
        self.all = all;
    }

    pub(super) fn add(&mut self, statement: &Statement) {
        let number = statement.end_us.div_euclid(1_000_000).max(self.closed_before);
        let new = || Second { sample_factor: self.sample_factor, ..Second::default() };
        let second = self.seconds.entry(number).or_insert_with(new);
        let took = statement.took();
        second.totals.entry(statement.instance).or_default().add(statement, took.as_ref());
        let key = Key {
            instance: statement.instance,
            schema: statement.schema,
            user: statement.user,
            digest: statement.digest,
        };
        if second.cells.len() < CELLS_MAX || second.cells.contains_key(&key) {
            second.cells.entry(key).or_default().add(statement, took.as_ref());
        } else {
            let (cell, statements) = second.beyond.entry(statement.instance).or_default();
            cell.add(statement, took.as_ref());
            *statements += 1;
        }
    }

    /// The rows of all seconds before `second`, which are closed by this.
    pub(super) fn flush(&mut self, before: i64, instances: &[InstanceId]) -> Flushed {
        let mut flushed = Flushed::default();
        let open = self.seconds.split_off(&before);
        let closed = std::mem::replace(&mut self.seconds, open);
        self.closed_before = self.closed_before.max(before);
        for (number, second) in closed {
            self.rows_of(number, second, instances, &mut flushed);
        }
        flushed
    }

    fn rows_of(&self, number: i64, second: Second, instances: &[InstanceId], flushed: &mut Flushed) {
        let sample_factor = second.sample_factor;
        let mut by_instance: BTreeMap<u32, Vec<(Key, Cell)>> = BTreeMap::new();
        for (key, cell) in second.cells {
            by_instance.entry(key.instance).or_default().push((key, cell));
        }
        for (instance, cells) in by_instance {
            let Some(id) = instances.get(instance as usize) else { continue };
            let (kept, mut other, mut folded) = fold(cells, self.all);
            if let Some((cell, statements)) = second.beyond.get(&instance) {
                other.merge(cell);
                folded += statements;
            }
            for (key, cell) in kept {
                let names = (self.text(key.schema), self.text(key.user));
                flushed.rows.push(Row { sample_factor, ..row(number, id, names, key.digest, cell, 0) });
            }
            if folded > 0 {
                let names = (String::new(), String::new());
                flushed.rows.push(Row { sample_factor, ..row(number, id, names, DigestId::OTHER, other, folded) });
            }
        }
        for (instance, counts) in second.totals {
            if let Some(id) = instances.get(instance as usize) {
                flushed.totals.push(Totals { sample_factor, ..counts.totals(number, id) });
            }
        }
    }

    fn text(&self, name: u32) -> String {
        self.names.get(name as usize).map_or_else(String::new, ToString::to_string)
    }
}

impl Counts {
    fn add(&mut self, statement: &Statement, took: Option<&Took>) {
        if statement.digest == DigestId::ADMIN {
            self.admin_commands += statement.count;
            self.cell.bytes_in += statement.bytes_in;
            self.cell.bytes_out += statement.bytes_out;
            self.cell.rows_sent += statement.rows_sent;
            return;
        }
        self.cell.add(statement, took);
        if let Some(kind) = statement.kind.filter(|_| statement.count > 0) {
            self.transactions += u64::from(kind.ends_transaction());
            self.writes += u64::from(kind.writes_rows());
        }
    }

    fn totals(self, second: i64, instance: &InstanceId) -> Totals {
        let cell = self.cell;
        Totals {
            second,
            instance: instance.clone(),
            sample_factor: 1,
            statements: cell.count,
            admin_commands: self.admin_commands,
            transactions: self.transactions,
            writes: self.writes,
            errors: cell.errors,
            rows_sent: cell.rows_sent,
            rows_affected: cell.rows_affected,
            bytes_in: cell.bytes_in,
            bytes_out: cell.bytes_out,
            rt_sum_us: cell.rt_sum_us,
            rt_first: cell.rt_first,
            rt_last: cell.rt_last,
        }
    }
}

/// Keeps the cells of the digests with most statements, and folds the others into one; in a fixed order.
fn fold(mut cells: Vec<(Key, Cell)>, all: bool) -> (Vec<(Key, Cell)>, Cell, u32) {
    cells.sort_unstable_by_key(|(key, _)| (key.digest, key.schema, key.user));
    if all {
        return (cells, Cell::default(), 0);
    }
    let told = Told::of(cells.iter().map(|(key, cell)| (key.digest, cell.count)));
    let mut other = Cell::default();
    if told.folded > 0 {
        cells.retain(|(key, cell)| {
            let keep = told.has(key.digest);
            if !keep {
                other.merge(cell);
            }
            keep
        });
    }
    (cells, other, told.folded)
}

fn row(
    second: i64,
    instance: &InstanceId,
    (schema, user): (String, String),
    digest: DigestId,
    cell: Cell,
    folded: u32,
) -> Row {
    Row {
        second,
        instance: instance.clone(),
        schema,
        user,
        digest,
        source: Source::Wire,
        sample_factor: 1,
        count: cell.count,
        errors: cell.errors,
        rows_sent: cell.rows_sent,
        rows_affected: cell.rows_affected,
        rows_examined: None,
        lock_us: None,
        bytes_in: cell.bytes_in,
        bytes_out: cell.bytes_out,
        rt_sum_us: cell.rt_sum_us,
        rt_min_us: cell.rt_min_us,
        rt_max_us: cell.rt_max_us,
        rt_first: cell.rt_first,
        rt_last: cell.rt_last,
        folded,
        killed: Some(cell.killed),
        timed_out: Some(cell.timed_out),
    }
}

#[cfg(test)]
mod tests {
    use millrace_schemas::topics::queries::DIGESTS_PER_SECOND_MAX;

    use super::*;

    fn statement(end_us: i64, digest: u32, rt_us: u64) -> Statement {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&digest.to_be_bytes());
        Statement {
            end_us,
            instance: 0,
            schema: 0,
            user: 0,
            digest: DigestId(id),
            kind: Some(Kind::COMMIT),
            count: 1,
            error: None,
            rows_sent: 2,
            rows_affected: 0,
            bytes_in: 10,
            bytes_out: 20,
            rt_us: Some((rt_us / 2, rt_us)),
        }
    }

    fn instances() -> Vec<InstanceId> {
        vec![InstanceId::parse("db-1").expect("an id")]
    }

    #[test]
    fn sums_by_second_and_closes_in_order() {
        let mut table = Table::new();
        for (at, rt) in [(1_000_000, 5), (1_900_000, 7), (2_000_000, 1)] {
            table.add(&statement(at, 1, rt));
        }
        let flushed = table.flush(2, &instances());
        assert_eq!(flushed.rows.len(), 1);
        let row = &flushed.rows[0];
        assert_eq!((row.second, row.count, row.rt_sum_us, row.rt_min_us, row.rt_max_us), (1, 2, 12, 5, 7));
        assert_eq!((flushed.totals[0].statements, flushed.totals[0].transactions), (2, 2));
        // Late for a closed second: it counts in the first open one.
        table.add(&statement(1_500_000, 1, 1));
        assert_eq!(table.flush(3, &instances()).rows[0].count, 2);
    }

    #[test]
    fn what_was_killed_or_ran_into_a_limit_is_counted_apart() {
        let mut table = Table::new();
        for error in [None, Some(1064), Some(1317), Some(1969), Some(3024), Some(3024)] {
            table.add(&Statement { error, ..statement(0, 1, 3) });
        }
        let row = &table.flush(1, &instances()).rows[0];
        assert_eq!((row.count, row.errors, row.killed, row.timed_out), (6, 5, Some(1), Some(3)));
    }

    #[test]
    fn what_is_folded_stays_exact() {
        let mut table = Table::new();
        let digests = DIGESTS_PER_SECOND_MAX as u32 + 50;
        for digest in 0..digests {
            for _ in 0..=(digest % 3) {
                table.add(&statement(0, digest, 3));
            }
        }
        let flushed = table.flush(1, &instances());
        let other: Vec<&Row> = flushed.rows.iter().filter(|row| row.digest == DigestId::OTHER).collect();
        assert_eq!(flushed.rows.len(), DIGESTS_PER_SECOND_MAX + 1);
        assert_eq!((other.len(), other[0].folded, other[0].count), (1, 50, 50));
        let count: u64 = flushed.rows.iter().map(|row| row.count).sum();
        assert_eq!(count, flushed.totals[0].statements);
        assert_eq!(flushed.rows.iter().map(|row| row.rt_sum_us).sum::<u64>(), flushed.totals[0].rt_sum_us);
    }
}
