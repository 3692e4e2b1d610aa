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
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{TOTAL, Window, decode, may_be_closed};

use super::{Folded, OTHER, Place, Texts, point_of};
use crate::line::Point;

/// What a window says of an instance; of a digest it says the same in the same order.
pub(super) const LOAD: [&Metric; 10] = [
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
pub(super) const BY_DIGEST: [&Metric; 10] = [
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

/// Every 300 s what a digest is is said again with its windows: a query looks back 5 min for a series.
const RESTATE_SECONDS: i64 = 300;

/// What of an instance's newest window has been told: a large one comes in several records.
#[derive(Debug, Default)]
struct Told {
    start: i64,
    digests: usize,
    /// What is folded so far.
    other: Folded,
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
        if !may_be_closed(&record.headers) {
            return Ok(Vec::new());
        }
        let Batch { cluster, value, .. } = Batch::of(record).map_err(Unreadable::Malformed)?;
        let windows = decode(&value).map_err(|error| Unreadable::Malformed(error.to_string()))?;
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
        Ok(by_window.into_iter().flat_map(|rows| self.window(cluster.as_str(), rows, texts)).collect())
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
                told.other.add(row);
            }
        }
        if let Folded(Some((row, folded))) = &told.other {
            points.push(point(&BY_DIGEST, &place, &["", "", OTHER], row, at));
            points.push(point_of(&[&BY_DIGEST_FOLDED], &place, &[], [Some(*folded as f64)], at));
        }
        points
    }
}

/// The numbers of a row, in the order of [`LOAD`] and [`BY_DIGEST`]. A row without response times has no quantiles.
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
    point_of(metrics, place, own, numbers, at)
}
