//! Counts the statements of a server by its own counters, where its packets cannot be read: a look at `performance_schema` every ten
//! seconds in, rows of `queries` and new digests out. For instances whose configuration says so; the capture leaves those out, since
//! two sources of one instance are never summed. It changes nothing on the server.

use std::sync::Arc;
use std::time::Duration;

use millrace_collectors::log_in::LogIn;
use millrace_collectors::performance_schema::{Deltas, Difference, Differences};
use millrace_collectors::rows::fold;
use millrace_collectors::statements::Known;
use millrace_mysql::digests::{self, DigestCounters};
use millrace_mysql::{Error, Session};
use millrace_schemas::ids::DigestId;
use millrace_schemas::metrics::COUNTERS_LACK;
use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::queries::{self, Row, Source};

use super::capture::{batch, entry, fleet};
use super::{Agent, Place, stopped};
use crate::roles::speaker::now;

/// 10 s, as long as the shortest window: each look reads the table of digests, at most 10,000 rows.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A text that the server cut ends so.
const CUT: &str = "...";

pub(super) fn start(agent: &Arc<Agent>, place: &Place) {
    tokio::spawn(run(Arc::clone(agent), place.clone()));
}

async fn run(agent: Arc<Agent>, place: Place) {
    let log_in = LogIn::new(place.target.clone());
    let (mut session, mut deltas, mut known, mut number) = (None, Deltas::new(), Known::new(), 0);
    let mut told = false;
    let mut stop = agent.stop.clone();
    loop {
        match look(&log_in, &mut session).await {
            Ok(rows) => {
                told = false;
                if let Some(found) = deltas.look(&rows) {
                    publish(&agent, &place, &found, &mut known, &mut number);
                }
            }
            Err(error) if told => tracing::debug!(%error, "statements are not counted"),
            Err(error) => {
                told = true;
                tracing::warn!(instance = %place.instance, %error, "statements are not counted until performance_schema can be read");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn look(log_in: &LogIn, session: &mut Option<Session>) -> Result<Vec<DigestCounters>, Error> {
    let mut open = match session.take() {
        Some(open) if open.is_usable() => open,
        _ => log_in.open().await?,
    };
    let rows = digests::read(&mut open).await?;
    *session = Some(open);
    Ok(rows)
}

fn publish(agent: &Agent, place: &Place, found: &Differences, known: &mut Known, number: &mut u64) {
    let lacks = [("reset", found.reset), ("beyond", found.beyond), ("unknown", found.unknown)];
    for (what, count) in lacks.into_iter().filter(|(_, count)| *count > 0) {
        agent.metrics.add(&COUNTERS_LACK, &[place.instance.as_str(), what], count);
    }
    for row in found.rows.iter().filter(|row| row.digest != DigestId::OTHER) {
        known.remember(row.digest, row.text.as_bytes(), row.text.ends_with(CUT));
    }
    for new in known.take_new() {
        // Not waited for: a text that did not get through is told again after a restart.
        drop(agent.speaker.say(fleet(), None, entry(new)));
    }
    let rows = rows(place, &found.rows, now().0.div_euclid(1_000_000));
    if let Some(record) = record(agent, place, &rows, number) {
        drop(agent.bus.append(vec![record])); // the bus counts what it refuses
    }
}

fn record(agent: &Agent, place: &Place, rows: &[Row], number: &mut u64) -> Option<NewRecord> {
    if rows.is_empty() {
        return None;
    }
    let value = queries::encode(rows).map_err(|error| tracing::error!(%error, "rows could not be encoded")).ok()?;
    // It numbers for itself, apart from the capture.
    let producer = format!("{}/counters/{}", agent.speaker.source(), place.instance);
    let record = batch(&place.cluster, &place.instance, &producer, (agent.speaker.incarnation(), *number), value);
    *number += 1;
    Some(record)
}

/// The differences as rows of the second in which they were read: those with the most time, and the others in one.
fn rows(place: &Place, found: &[Difference], second: i64) -> Vec<Row> {
    fold(found.iter().map(|row| self::row(place, row, second)).collect())
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
        Place {
            cluster: ClusterId::parse("shop").expect("legal"),
            instance: InstanceId::parse("db1").expect("legal"),
            address: "127.0.0.1".to_owned(),
            port: 3306,
            target: Target::new("db1", Address::Socket("/s".into()), account),
            pulse: None,
            guarded: None,
            slow_log: None,
            statements: Source::PerformanceSchema,
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
