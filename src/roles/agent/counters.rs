//! The counters that a server keeps of its statements: a look at `performance_schema` in, rows of `queries` with what was added
//! since the look before, and new digests out. When to look is not decided here. It changes nothing on the server.

use std::sync::Arc;

use millrace_collectors::log_in::LogIn;
use millrace_collectors::performance_schema::{Deltas, Difference, Differences};
use millrace_collectors::rows::fold;
use millrace_collectors::statements::Known;
use millrace_mysql::digests::{self, DigestCounters};
use millrace_mysql::{Error, Session, sessions};

use millrace_schemas::ids::DigestId;
use millrace_schemas::metrics::COUNTERS_LACK;
use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::queries::{self, Row, Source};

use super::capture::{batch, entry, fleet};
use super::{Agent, Place};
use crate::roles::speaker::now;

/// A text that the server cut ends so.
const CUT: &str = "...";

/// Why a server's counters cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// The server does not answer, or not to this account.
    #[error(transparent)]
    Server(#[from] Error),
    /// Every look is a statement itself, so a server that counts has a digest.
    #[error("performance_schema has no digest of any statement: set performance_schema=ON and restart the server")]
    Empty,
}

/// The counters of one server, and what they said at the last look.
pub(super) struct Counters {
    log_in: Arc<LogIn>,
    session: Option<Session>,
    deltas: Deltas,
    known: Known,
    /// How many batches of rows were sent: their sequence.
    number: u64,
}

impl Counters {
    pub(super) fn new(place: &Place) -> Self {
        Self { log_in: Arc::clone(&place.log_in), session: None, deltas: Deltas::new(), known: Known::new(), number: 0 }
    }

    /// Sees whether they can be read; what they say is forgotten.
    pub(super) async fn probe(&mut self) -> Result<(), Unusable> {
        self.forget();
        self.read().await.map(drop)
    }

    /// The next look begins anew: what was counted before it is nobody's.
    pub(super) fn forget(&mut self) {
        self.deltas = Deltas::new();
    }

    /// Looks, and tells what was counted since the last look.
    pub(super) async fn look(&mut self, agent: &Agent, place: &Place) -> Result<(), Unusable> {
        let rows = self.read().await?;
        if let Some(found) = self.deltas.look(&rows) {
            self.publish(agent, place, &found);
        }
        Ok(())
    }

    /// How many statements each user has sent.
    pub(super) async fn by_user(&mut self) -> Result<Vec<(String, u64)>, Unusable> {
        let mut open = self.open().await?;
        let users = sessions::statements_by_user(&mut open).await?;
        self.session = Some(open);
        if users.is_empty() { Err(Unusable::Empty) } else { Ok(users) }
    }

    async fn open(&mut self) -> Result<Session, Error> {
        match self.session.take() {
            Some(open) if open.is_usable() => Ok(open),
            _ => self.log_in.open().await,
        }
    }

    async fn read(&mut self) -> Result<Vec<DigestCounters>, Unusable> {
        let mut open = self.open().await?;
        let rows = digests::read(&mut open).await?;
        self.session = Some(open);
        if rows.is_empty() { Err(Unusable::Empty) } else { Ok(rows) }
    }

    fn publish(&mut self, agent: &Agent, place: &Place, found: &Differences) {
        let lacks = [("reset", found.reset), ("beyond", found.beyond), ("unknown", found.unknown)];
        for (what, count) in lacks.into_iter().filter(|(_, count)| *count > 0) {
            agent.metrics.add(&COUNTERS_LACK, &[place.instance.as_str(), what], count);
        }
        for row in found.rows.iter().filter(|row| row.digest != DigestId::OTHER) {
            self.known.remember(row.digest, row.text.as_bytes(), row.text.ends_with(CUT));
        }
        for new in self.known.take_new() {
            // Not waited for: a text that did not get through is told again after a restart.
            drop(agent.speaker.say(fleet(), None, entry(new)));
        }
        // The last that was over: packets of it may still be on their way, but none of one before.
        let rows = rows(place, &found.rows, now().0.div_euclid(1_000_000) - 1);
        if let Some(record) = self.record(agent, place, &rows) {
            drop(agent.bus.append(vec![record])); // the bus counts what it refuses
        }
    }

    fn record(&mut self, agent: &Agent, place: &Place, rows: &[Row]) -> Option<NewRecord> {
        if rows.is_empty() {
            return None;
        }
        let value = queries::encode(rows).map_err(|error| tracing::error!(%error, "rows could not be encoded")).ok()?;
        // It numbers for itself, apart from the capture.
        let producer = format!("{}/counters/{}", agent.speaker.source(), place.instance);
        Some(batch(agent, (place.cluster.clone(), &place.instance), &producer, &mut self.number, value))
    }
}

/// The differences as rows of one second: those with the most time, and the others in one.
fn rows(place: &Place, found: &[Difference], second: i64) -> Vec<Row> {
    fold(found.iter().map(|row| self::row(place, row, second)).collect(), |row| row.rt_sum_us)
}

fn row(place: &Place, found: &Difference, second: i64) -> Row {
    let (mean_us, times) = (found.mean_us(), found.times());
    Row {
        second,
        instance: place.instance.clone(),
        schema: found.schema.clone(),
        user: String::new(),
        digest: found.digest,
        source: Source::PerformanceSchema,
        sample_factor: 1,
        count: found.count,
        errors: found.errors,
        rows_sent: found.rows_sent,
        rows_affected: found.rows_affected,
        rows_examined: Some(found.rows_examined),
        lock_us: Some(found.lock_us),
        bytes_in: 0,
        bytes_out: 0,
        rt_sum_us: found.time_us,
        rt_min_us: mean_us,
        rt_max_us: mean_us,
        rt_first: times.clone(),
        rt_last: times,
        folded: 0,
        // It counts errors by digest, but not which.
        killed: None,
        timed_out: None,
    }
}

#[cfg(test)]
mod tests {
    use millrace_mysql::{Account, Address, Target};
    use millrace_schemas::ids::{ClusterId, InstanceId};
    use millrace_schemas::topics::queries::DIGESTS_PER_SECOND_MAX;

    use super::*;

    fn place() -> Place {
        let account = Account { user: "millrace".to_owned(), password_file: None };
        let target = Target::new("db1", Address::Socket("/s".into()), account);
        Place {
            log_in: Arc::new(LogIn::new(target.clone())),
            cluster: ClusterId::parse("shop").expect("legal"),
            instance: InstanceId::parse("db1").expect("legal"),
            address: "127.0.0.1".to_owned(),
            port: 3306,
            target,
            pulse: None,
            guarded: None,
            slow_log: None,
            statements: Some(Source::PerformanceSchema),
        }
    }

    fn found(at: u64) -> Difference {
        Difference {
            schema: "shop".to_owned(),
            digest: DigestId((u128::from(at + 1) << 64).to_be_bytes()), // the lowest ids are reserved
            text: "DO ?".to_owned(),
            count: 4,
            errors: 1,
            time_us: 100 + at * 8,
            lock_us: 2,
            rows_sent: 3,
            rows_affected: 5,
            rows_examined: 7,
        }
    }

    #[test]
    fn what_weighs_least_is_folded_and_the_sums_stay_exact() {
        let all: Vec<Difference> = (0..DIGESTS_PER_SECOND_MAX as u64 + 3).map(found).collect();
        let rows = rows(&place(), &all, 1_700_000_000);
        assert_eq!(rows.len(), DIGESTS_PER_SECOND_MAX + 1);
        let other = rows.last().expect("there are some");
        assert_eq!((other.digest, other.folded, other.count, other.rt_sum_us), (DigestId::OTHER, 3, 12, 324));
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        assert_eq!(sum(|row| row.rt_sum_us), all.iter().map(|row| row.time_us).sum::<u64>());
        assert_eq!(sum(|row| row.count), 4 * all.len() as u64);
        assert!(rows.iter().all(|row| row.rt_last.count() == row.count && row.source == Source::PerformanceSchema));
        assert!(queries::encode(&rows).is_ok());
    }
}
