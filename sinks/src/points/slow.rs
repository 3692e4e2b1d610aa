//! Rows of slow statements enter, points leave: what each digest was slow at, second by second, by schema and user. They lie in `queries`
//! among the counts of all statements, in batches of their own. Digests with most time have series of their own, the rest of a batch is in
//! `other`, exactly. An agent may send a second in two batches, so a second is the sum of its points ([`moment`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use millrace_schemas::event::Unreadable;
use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::metrics::{
    Metric, SLOW_DIGEST_ERRORS, SLOW_DIGEST_EXAMINED, SLOW_DIGEST_FOLDED, SLOW_DIGEST_HIGHEST, SLOW_DIGEST_LOCK,
    SLOW_DIGEST_QUERIES, SLOW_DIGEST_SECONDS, SLOW_DIGEST_SENT,
};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::queries::{self, Row, Source};

use super::{Folded, OTHER, Place, Texts, moment, point_of};
use crate::line::Point;

/// What a second says of a digest.
pub(super) const BY_DIGEST: [&Metric; 7] = [
    &SLOW_DIGEST_QUERIES,
    &SLOW_DIGEST_ERRORS,
    &SLOW_DIGEST_SECONDS,
    &SLOW_DIGEST_HIGHEST,
    &SLOW_DIGEST_LOCK,
    &SLOW_DIGEST_EXAMINED,
    &SLOW_DIGEST_SENT,
];

/// Sums by second and instance, and in it by digest, schema and user.
type Sums = BTreeMap<(i64, InstanceId), BTreeMap<(DigestId, String, String), Row>>;

/// The budget of each instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Digests that have series of their own in one second.
    digests: usize,
}

impl Budget {
    /// Room for `series` series of an instance, `other` and how many rows were folded among them.
    pub(super) fn new(series: usize) -> Self {
        Self { digests: series.saturating_sub(BY_DIGEST.len() + 1) / BY_DIGEST.len() }
    }

    pub(super) fn points(self, batch: &Batch<'_>, texts: &Texts) -> Result<Vec<Point>, Unreadable> {
        let rows = queries::decode(&batch.value).map_err(|error| Unreadable::Malformed(error.to_string()))?;
        let mut sums = Sums::new();
        for row in rows.into_iter().filter(|row| row.source == Source::SlowLog) {
            add(&mut sums, row);
        }
        let second = |((second, instance), rows): ((i64, InstanceId), BTreeMap<_, Row>)| {
            let at = moment(batch.sequence, second);
            self.second(batch.cluster.as_str(), &instance, at, rows.into_values().collect(), texts)
        };
        Ok(sums.into_iter().flat_map(second).collect())
    }

    fn second(
        self,
        cluster: &str,
        instance: &InstanceId,
        at: Timestamp,
        mut rows: Vec<Row>,
        texts: &Texts,
    ) -> Vec<Point> {
        let place = Place { cluster, instance: instance.as_str(), host: "" };
        let (mut points, mut other, mut about) = (Vec::new(), Folded::default(), BTreeSet::new());
        rows.sort_by_key(|row| (row.digest == DigestId::OTHER, Reverse(row.rt_sum_us)));
        for (at_most, row) in (1..).zip(rows) {
            if row.digest != DigestId::OTHER && at_most <= self.digests {
                points.push(point(&place, [&row.schema, &row.user, &row.digest.to_string()], &row, at));
                // A digest may be slow once a day: who looks then finds its text.
                let about = texts.get(&row.digest).filter(|_| about.insert(row.digest)).into_iter();
                points.extend(about.flat_map(|about| about.points(row.digest, at)));
            } else {
                other.add(row);
            }
        }
        if let Folded(Some((row, folded))) = &other {
            points.push(point(&place, ["", "", OTHER], row, at));
            points.push(point_of(&[&SLOW_DIGEST_FOLDED], &place, &[], [Some(*folded as f64)], at));
        }
        points
    }
}

/// Adds a row as the statements that it stands for: a server may log one of so many.
fn add(sums: &mut Sums, mut row: Row) {
    let one = row.clone();
    row.add_counts(&one, u64::from(row.sample_factor.max(1)) - 1);
    let digests = sums.entry((row.second, row.instance.clone())).or_default();
    match digests.entry((row.digest, row.schema.clone(), row.user.clone())) {
        std::collections::btree_map::Entry::Vacant(entry) => drop(entry.insert(row)),
        std::collections::btree_map::Entry::Occupied(mut entry) => {
            let sum = entry.get_mut();
            sum.add_counts(&row, 1);
            sum.folded = sum.folded.saturating_add(row.folded);
        }
    }
}

/// The numbers of a row, in the order of [`BY_DIGEST`].
fn point(place: &Place<'_>, own: [&str; 3], row: &Row, at: Timestamp) -> Point {
    let seconds = |us: u64| us as f64 / 1e6;
    let numbers = [
        Some(row.count as f64),
        Some(row.errors as f64),
        Some(seconds(row.rt_sum_us)),
        Some(seconds(row.rt_max_us)),
        row.lock_us.map(seconds),
        row.rows_examined.map(|rows| rows as f64),
        Some(row.rows_sent as f64),
    ];
    point_of(&BY_DIGEST, place, &own, numbers, at)
}

#[cfg(test)]
mod tests {
    use millrace_schemas::record::{Bytes, Record};
    use millrace_schemas::topics::examples;

    use super::super::About;
    use super::*;

    const SECOND: i64 = 1_700_000_000;

    fn row(second: i64, digest: u8, count: u64, factor: u32) -> Row {
        let like = examples::rows().remove(0);
        Row {
            second,
            source: Source::SlowLog,
            sample_factor: factor,
            digest: DigestId([digest; 16]),
            count,
            errors: 0,
            rows_sent: count,
            rows_examined: Some(10 * count),
            lock_us: Some(count * 250_000),
            rt_sum_us: count * 2_000_000,
            rt_max_us: 3_000_000 + u64::from(digest),
            ..like
        }
    }

    fn batch(producer: &str, counter: u64, rows: &[Row]) -> Record {
        examples::counted("c1", producer, counter, rows).stored(0, 0, Timestamp(0))
    }

    fn points(record: &Record, series: usize, texts: &Texts) -> Result<Vec<Point>, Unreadable> {
        Budget::new(series).points(&Batch::of(record).expect("its headers are there"), texts)
    }

    /// Each number by its metric, digest and time.
    fn told(record: &Record, series: usize) -> BTreeMap<(String, String, i64), f64> {
        let points = points(record, series, &Texts::new()).expect("readable");
        let fields = points.iter().flat_map(|point| {
            let digest = point.labels.iter().find(|(label, _)| *label == "digest").map_or("", |(_, value)| value);
            point.fields.iter().map(move |(field, value)| ((*field, digest, point.at.0), *value))
        });
        fields.map(|((field, digest, at), value)| ((field.to_owned(), digest.to_owned(), at), value)).collect()
    }

    fn producer() -> String {
        queries::slow_log_producer("agent/h1", &InstanceId::parse("db1").expect("legal"))
    }

    #[test]
    fn a_second_gives_each_digest_once_with_what_the_server_left_out() {
        let rows = [row(SECOND, 3, 2, 1), row(SECOND, 3, 1, 5), row(SECOND + 1, 3, 1, 1), row(SECOND, 4, 1, 1)];
        let told = told(&batch(&producer(), 2, &rows), 2_000);
        let (three, four) = (DigestId([3; 16]).to_string(), DigestId([4; 16]).to_string());
        let at = SECOND * 1_000_000 + 3_000;
        let check = |field: &str, digest: &String, at: i64, expected: f64| {
            assert_eq!(told.get(&(field.to_owned(), digest.clone(), at)), Some(&expected), "{field} in {told:?}");
        };
        check("queries", &three, at, 7.0);
        check("seconds", &three, at, 14.0);
        check("lock_seconds", &three, at, 1.75);
        check("rows_examined", &three, at, 70.0);
        check("rows_sent", &three, at, 7.0);
        check("highest_seconds", &three, at, 3.000_003);
        check("errors", &three, at, 0.0);
        check("queries", &three, at + 1_000_000, 1.0);
        check("queries", &four, at, 1.0);
        assert_eq!(told.len(), 21);
    }

    #[test]
    fn two_batches_of_one_second_are_both_there_and_one_that_is_read_again_is_once() {
        let read = |counter| told(&batch(&producer(), counter, &[row(SECOND, 3, 1, 1)]), 2_000);
        let mut store = BTreeMap::new();
        for counter in [0, 1, 1, 0, 999] {
            store.extend(read(counter));
        }
        let queries = store.iter().filter(|((field, ..), _)| field == "queries").map(|(_, value)| value).sum::<f64>();
        assert!((queries - 3.0).abs() < 1e-9, "{store:?}");
        let in_it = |at: i64| at.div_euclid(1_000_000) == SECOND;
        assert!(store.keys().all(|(_, _, at)| in_it(*at)));
    }

    #[test]
    fn what_is_over_the_budget_is_folded_exactly() {
        let other = Row { digest: DigestId::OTHER, folded: 7, ..row(SECOND, 0, 100, 1) };
        let rows: Vec<Row> = (1..=5).map(|at| row(SECOND, at, u64::from(at), 1)).chain([other]).collect();
        // `other` and what is folded are 8 series, each digest has 7.
        let told = told(&batch(&producer(), 0, &rows), 8 + 2 * 7);
        let of = |field: &str| -> Vec<(&str, f64)> {
            let of = told.iter().filter(|((name, ..), _)| name == field);
            of.map(|((_, digest, _), value)| (digest.as_str(), *value)).collect()
        };
        let (four, five) = (DigestId([4; 16]).to_string(), DigestId([5; 16]).to_string());
        assert_eq!(of("queries"), [(four.as_str(), 4.0), (five.as_str(), 5.0), ("other", 106.0)]);
        assert_eq!(of("folded"), [("", 10.0)]);
        assert_eq!(told.len(), 8 + 2 * 7);
    }

    #[test]
    fn the_text_of_a_digest_comes_with_it() {
        let about = About { kind: "select".to_owned(), text: "SELECT ?".to_owned(), tables: String::new() };
        let texts = Texts::from([(DigestId([3; 16]), about)]);
        let two = [row(SECOND, 3, 1, 1), Row { user: "other".to_owned(), ..row(SECOND, 3, 1, 1) }];
        let told = points(&batch(&producer(), 0, &two), 400, &texts).expect("readable");
        let infos = told.iter().filter(|point| point.measurement == "millrace_digest").count();
        assert_eq!((infos, told.len()), (1, 3));
        let mine = Record { value: Some(Bytes::from_static(b"{")), ..batch(&producer(), 0, &two) };
        assert!(matches!(points(&mine, 400, &texts), Err(Unreadable::Malformed(_))));
    }
}
