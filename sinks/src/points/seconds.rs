//! Batches of counted statements enter, points leave: what an instance did in each second, as soon as its agent has told it. Windows of
//! ten seconds are exact too, but nobody who watches a server wants to wait for their end.
//!
//! An agent may tell a second in two batches, so a second is the sum of its points ([`moment`]).

use std::collections::BTreeMap;

use millrace_schemas::event::Unreadable;
use millrace_schemas::metrics::{Metric, SECOND_ERRORS, SECOND_QUERIES, SECOND_SECONDS};
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::queries::{self, Source};

use super::{Place, moment, point_of};
use crate::line::Point;

/// What a second says of an instance.
pub(super) const OF_SECOND: [&Metric; 3] = [&SECOND_QUERIES, &SECOND_ERRORS, &SECOND_SECONDS];

/// The points of a batch: one for each second and instance in it. Rows of slow logs are of statements that are counted already.
pub(super) fn points(batch: &Batch<'_>) -> Result<Vec<Point>, Unreadable> {
    let told = queries::with_rows(&batch.value, |rows| {
        let mut sums: BTreeMap<(i64, &str), [u64; 3]> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.source != Source::SlowLog) {
            let sum = sums.entry((row.second, row.instance)).or_default();
            let factor = u64::from(row.sample_factor.max(1));
            for (sum, part) in sum.iter_mut().zip([row.count, row.errors, row.rt_sum_us]) {
                *sum = sum.saturating_add(part.saturating_mul(factor));
            }
        }
        let point = |((second, instance), [count, errors, us]): ((i64, &str), [u64; 3])| {
            let place = Place { cluster: batch.cluster.as_str(), instance, host: "" };
            let numbers = [count as f64, errors as f64, us as f64 / 1e6].map(Some);
            point_of(&OF_SECOND, &place, &[], numbers, moment(batch.sequence, second))
        };
        sums.into_iter().map(point).collect()
    });
    told.map_err(|error| Unreadable::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use millrace_schemas::ids::InstanceId;
    use millrace_schemas::time::Timestamp;
    use millrace_schemas::topics::examples;
    use millrace_schemas::topics::queries::Row;

    use super::*;

    const SECOND: i64 = 1_700_000_000;

    #[test]
    fn each_second_of_an_instance_is_a_point_with_what_was_left_out_and_without_slow_statements() {
        let like = examples::rows().remove(0);
        let row = |second, instance: &str, source, factor, count| {
            let instance = InstanceId::parse(instance).expect("legal");
            Row {
                second,
                instance,
                source,
                sample_factor: factor,
                count,
                errors: 1,
                rt_sum_us: 500_000,
                ..like.clone()
            }
        };
        let rows = [
            row(SECOND, "db1", Source::Wire, 1, 10),
            row(SECOND, "db1", Source::Wire, 4, 10),
            row(SECOND, "db1", Source::SlowLog, 1, 99),
            row(SECOND + 1, "db1", Source::Wire, 1, 3),
            row(SECOND, "db2", Source::PerformanceSchema, 1, 7),
        ];
        let record = examples::counted("c1", "agent/h1", 11, &rows).stored(0, 0, Timestamp(0));
        let points = super::super::Points::new(2_000).of(&record).expect("readable");
        let told = points.iter().map(|point| {
            let numbers: Vec<f64> = point.fields.iter().map(|(_, number)| *number).collect();
            (point.labels[1].1.as_str(), point.at.0, numbers)
        });
        let at = SECOND * 1_000_000 + 12_000;
        let expected = [
            ("db1", at, vec![50.0, 5.0, 2.5]),
            ("db2", at, vec![7.0, 1.0, 0.5]),
            ("db1", at + 1_000_000, vec![3.0, 1.0, 0.5]),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
