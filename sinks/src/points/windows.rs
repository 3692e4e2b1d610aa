//! Closed windows of 10 s enter, points leave: the instance as a whole, and each digest by schema and user. An instance has a budget
//! of series: digests with most response time have series of their own, the rest is in `other`, exactly. Which they are depends on
//! the window alone, so that a window that is read again gives the same points.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use millrace_schemas::event::Unreadable;
use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::metrics::{
    BY_DIGEST_BYTES_RECEIVED, BY_DIGEST_BYTES_SENT, BY_DIGEST_ERRORS, BY_DIGEST_FOLDED, BY_DIGEST_P50, BY_DIGEST_P95,
    BY_DIGEST_P99, BY_DIGEST_QUERIES, BY_DIGEST_ROWS_AFFECTED, BY_DIGEST_ROWS_SENT, BY_DIGEST_SECONDS,
    LOAD_BYTES_RECEIVED, LOAD_BYTES_SENT, LOAD_ERRORS, LOAD_P50, LOAD_P95, LOAD_P99, LOAD_QUERIES, LOAD_ROWS_AFFECTED,
    LOAD_ROWS_SENT, LOAD_SECONDS, Metric,
};
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{self, TOTAL, Window};

use super::{Lines, Place, Texts};
use crate::line::Point;

/// What a window says of an instance; of a digest it says the same in the same order.
const LOAD: [&Metric; 10] = [
    &LOAD_QUERIES,
    &LOAD_ERRORS,
    &LOAD_ROWS_SENT,
    &LOAD_ROWS_AFFECTED,
    &LOAD_BYTES_RECEIVED,
    &LOAD_BYTES_SENT,
    &LOAD_SECONDS,
    &LOAD_P50,
    &LOAD_P95,
    &LOAD_P99,
];

/// What a window says of a digest.
const BY_DIGEST: [&Metric; 10] = [
    &BY_DIGEST_QUERIES,
    &BY_DIGEST_ERRORS,
    &BY_DIGEST_ROWS_SENT,
    &BY_DIGEST_ROWS_AFFECTED,
    &BY_DIGEST_BYTES_RECEIVED,
    &BY_DIGEST_BYTES_SENT,
    &BY_DIGEST_SECONDS,
    &BY_DIGEST_P50,
    &BY_DIGEST_P95,
    &BY_DIGEST_P99,
];

/// The width that stores get: wider windows are sums of it.
const WIDTH_SECONDS: u32 = 10;

/// The name of what is folded.
const OTHER: &str = "other";

/// Every 300 s what a digest is is said again with its windows: a query looks back 5 min for a series.
const RESTATE_SECONDS: i64 = 300;

/// What of an instance's newest window has been told: a large one comes in several records.
#[derive(Debug, Default)]
struct Told {
    start: i64,
    digests: usize,
    /// What is folded so far, as one row, and how many rows that are.
    other: Option<(Row, u64)>,
}

/// The budgets of all instances.
#[derive(Debug)]
pub(super) struct Budgets {
    /// Digests that have series of their own.
    digests: usize,
    told: BTreeMap<(String, InstanceId), Told>,
}

impl Budgets {
    /// Room for `series` series of an instance: with each digest come its text and its tables, and with all of them the instance as
    /// a whole, `other`, and how many were folded.
    pub(super) fn new(series: usize) -> Self {
        let others = LOAD.len() + BY_DIGEST.len() + 1;
        Self { digests: series.saturating_sub(others) / (BY_DIGEST.len() + 2), told: BTreeMap::new() }
    }

    /// Nothing has been told.
    pub(super) fn begin(&mut self) {
        self.told.clear();
    }

    pub(super) fn points(&mut self, record: &Record, texts: &Texts) -> Result<Vec<Point>, Unreadable> {
        let malformed = |what: &str| Unreadable::Malformed(what.to_owned());
        let cluster = record.headers.get("cluster").ok_or_else(|| malformed("no header says the cluster"))?;
        let value = record.value.as_deref().ok_or_else(|| malformed("the record has no value"))?;
        let windows = windows::decode(value).map_err(|error| Unreadable::Malformed(error.to_string()))?;
        let closed = windows.into_iter().filter(|window| window.closed && window.width_seconds == WIDTH_SECONDS);
        // A record has few windows, with their rows beside each other.
        let mut by_window: Vec<Vec<Row>> = Vec::new();
        for Window { row, .. } in closed {
            let same = |rows: &&mut Vec<Row>| (rows[0].second, &rows[0].instance) == (row.second, &row.instance);
            match by_window.iter_mut().rev().find(same) {
                Some(rows) => rows.push(row),
                None => by_window.push(vec![row]),
            }
        }
        by_window.sort_by(|one, other| (&one[0].instance, one[0].second).cmp(&(&other[0].instance, other[0].second)));
        Ok(by_window.into_iter().flat_map(|rows| self.window(cluster, rows, texts)).collect())
    }

    /// The points of a window: of its rows, of which there is one at least.
    fn window(&mut self, cluster: &str, mut rows: Vec<Row>, texts: &Texts) -> Vec<Point> {
        let (instance, start) = (rows[0].instance.clone(), rows[0].second);
        let told = self.told.entry((cluster.to_owned(), instance.clone())).or_default();
        if told.start != start {
            *told = Told { start, ..Told::default() };
        }
        let place = Place { cluster, instance: instance.as_str(), host: "" };
        let at = Timestamp((start + i64::from(WIDTH_SECONDS)) * 1_000_000);
        let key = |row: &'_ Row| (Reverse(row.rt_sum_us), row.digest);
        rows.sort_by(|one, other| {
            let names = || (&one.schema, &one.user).cmp(&(&other.schema, &other.user));
            key(one).cmp(&key(other)).then_with(names)
        });
        let mut points = Vec::with_capacity(rows.len() + 2);
        for row in rows {
            if row.digest == TOTAL {
                points.push(point(&LOAD, &place, &[], &row, at));
            } else if row.digest != DigestId::OTHER && told.digests < self.digests {
                told.digests += 1;
                let digest = row.digest.to_string();
                points.push(point(&BY_DIGEST, &place, &[&row.schema, &row.user, &digest], &row, at));
                let restated = texts.get(&row.digest).filter(|_| start.rem_euclid(RESTATE_SECONDS) == 0);
                points.extend(restated.into_iter().flat_map(|about| about.points(row.digest, at)));
            } else {
                told.fold(row);
            }
        }
        if let Some((row, folded)) = &told.other {
            points.push(point(&BY_DIGEST, &place, &["", "", OTHER], row, at));
            let mut lines = Lines::default();
            lines.add(&BY_DIGEST_FOLDED, place.labels(&BY_DIGEST_FOLDED, &[]), *folded as f64);
            points.extend(lines.at(at));
        }
        points
    }
}

impl Told {
    /// Adds a row to what is folded. One that stands for several digests counts as them.
    fn fold(&mut self, row: Row) {
        let rows = u64::from(row.folded.max(1));
        let Some((sum, folded)) = &mut self.other else {
            self.other = Some((row, rows));
            return;
        };
        *folded += rows;
        sum.merge(&row);
    }
}

/// The numbers of a row, in the order of [`LOAD`] and [`BY_DIGEST`], which have a measurement and labels in common each. A row without
/// response times has no quantiles.
fn point(metrics: &[&'static Metric; 10], place: &Place<'_>, own: &[&str], row: &Row, at: Timestamp) -> Point {
    let quantiles = row.rt_last.quantiles([0.5, 0.95, 0.99]).map(|all| all.map(|us| us as f64 / 1e6));
    let quantile = |at: usize| quantiles.map(|all| all[at]);
    let numbers = [
        Some(row.count as f64),
        Some(row.errors as f64),
        Some(row.rows_sent as f64),
        Some(row.rows_affected as f64),
        Some(row.bytes_in as f64),
        Some(row.bytes_out as f64),
        Some(row.rt_sum_us as f64 / 1e6),
        quantile(0),
        quantile(1),
        quantile(2),
    ];
    let fields = metrics.iter().zip(numbers).filter_map(|(metric, number)| Some((metric.field, number?))).collect();
    Point { measurement: metrics[0].measurement, labels: place.labels(metrics[0], own), fields, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_one_point_has_one_measurement_and_the_same_labels() {
        for metrics in [LOAD, BY_DIGEST] {
            let heads: Vec<_> = metrics.iter().map(|metric| (metric.measurement, metric.labels)).collect();
            assert!(heads.iter().all(|head| head == &heads[0]), "{heads:?}");
        }
    }
}
