//! Rows of statements, and the records that carry them: numbers enter, rows of one digest and batches of one instance leave. For tests of
//! who counts, sums up and judges.

use super::super::Topic;
use super::super::batch::Batch;
use super::super::queries::{self, Row};
use super::super::windows::{self, TOTAL, Window};
use super::rows;
use crate::ids::{ClusterId, DigestId, InstanceId};
use crate::marks::Sequence;
use crate::record::NewRecord;
use crate::sketch::Sketch;

/// `count` statements of a digest in a second, as the wire tells them, of which each took `us`.
pub fn row(second: i64, digest: DigestId, count: u64, us: u64) -> Row {
    let mut times = Sketch::new();
    times.add_n(us, count);
    Row {
        second,
        digest,
        count,
        errors: 0,
        rows_sent: count,
        rows_affected: 0,
        bytes_in: 40 * count,
        bytes_out: 90 * count,
        rt_sum_us: us * count,
        rt_min_us: us,
        rt_max_us: us,
        rt_first: times.clone(),
        rt_last: times,
        killed: None,
        timed_out: None,
        ..rows().remove(0)
    }
}

/// A window of `db1` that begins at `second`: so many statements of one digest, each of so many microseconds, and their total.
pub fn window(second: i64, count: u64, us: u64, closed: bool) -> [Window; 2] {
    let row = Row { schema: String::new(), ..row(second, DigestId([3; 16]), count, us) };
    let total = Row { digest: TOTAL, ..row.clone() };
    [total, row].map(|row| Window { width_seconds: 10, revision: 2, closed, row })
}

/// Rows of one instance in `queries`, as `producer` says them as his batch `counter`.
pub fn counted(cluster: &str, producer: &str, counter: u64, rows: &[Row]) -> NewRecord {
    let value = queries::encode(rows).expect("rows of the types that they have");
    batch(Topic::Queries, (cluster, &rows[0].instance), producer, counter, value)
}

/// Rows of one instance in `windows`, as the processor says them as its batch `counter`.
pub fn windowed(cluster: &str, counter: u64, rows: &[Window]) -> NewRecord {
    let value = windows::encode(rows).expect("rows of the types that they have");
    batch(Topic::Windows, (cluster, &rows[0].row.instance), "windows.1/queries/0", counter, value)
}

fn batch(topic: Topic, of: (&str, &InstanceId), producer: &str, counter: u64, value: Vec<u8>) -> NewRecord {
    let (cluster, sequence) = (ClusterId::parse(of.0).expect("a legal id"), Sequence { incarnation: 1, counter });
    Batch { cluster, producer, sequence, value: value.into() }.into_record(topic, of.1)
}
