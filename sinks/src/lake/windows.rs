//! The table `windows`: closed windows of every width enter, of each row its highest revision; rows of a file leave. The row `total` of a
//! window has everything of its instance, the others are its parts.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_schemas::event::Unreadable;
use millrace_schemas::ids::DigestId;
use millrace_schemas::record::Record;
use millrace_schemas::sketch::Sketch;
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{TOTAL, Window, decode, may_be_closed};

use super::file::Columns;
use super::{Counted, Days, Recent, day_of};

/// What a row is about: width, start, instance, digest, schema, user. Files have their rows in this order.
type About = (u32, i64, Arc<str>, DigestId, Arc<str>, Arc<str>);

/// The rows of a day and cluster.
pub(super) type Rows = BTreeMap<About, Kept>;

/// The numbers of a row; its response times are packed.
#[derive(Debug)]
pub(super) struct Kept {
    revision: u32,
    row: Row<(), (), Times>,
}

/// Response times, and what half of them, 95 and 99 of 100 did not exceed.
#[derive(Debug)]
struct Times {
    packed: Box<[u8]>,
    quantiles: [Option<u64>; 3],
}

fn times(sketch: &Sketch) -> Times {
    let quantiles = [0.5, 0.95, 0.99].map(|q| sketch.quantile(q));
    Times { packed: sketch.to_bytes().into_boxed_slice(), quantiles }
}

pub(super) fn take(record: &Record, days: &mut Days<Rows>, recent: &mut Recent) -> Result<Counted, Unreadable> {
    let mut counted = Counted::default();
    if !may_be_closed(&record.headers) {
        return Ok(counted);
    }
    let Batch { cluster, value, .. } = Batch::of(record).map_err(Unreadable::Malformed)?;
    let windows = decode(&value).map_err(|error| Unreadable::Malformed(error.to_string()))?;
    let no_time = || Unreadable::Malformed("a window starts at no time of any calendar".to_owned());
    for window in windows.into_iter().filter(|window| window.closed) {
        let start_us = window.start().saturating_mul(1_000_000);
        let day = day_of(start_us).ok_or_else(no_time)?;
        let about = about(&window);
        if !recent.is_news(&(cluster.as_str(), &about), window.revision.saturating_add(1), record.offset) {
            counted.repeated += 1;
            continue;
        }
        counted.rows += 1;
        let row = window.row.with((), (), (), times);
        let rows = days.entry((day, cluster.as_str().to_owned())).or_default();
        rows.insert(about, Kept { revision: window.revision, row });
    }
    Ok(counted)
}

fn about(window: &Window) -> About {
    let row = &window.row;
    let instance = Arc::from(row.instance.as_str());
    (window.width_seconds, window.start(), instance, row.digest, row.schema.as_str().into(), row.user.as_str().into())
}

/// As people write it.
fn named(digest: DigestId) -> String {
    match digest {
        TOTAL => "total".to_owned(),
        DigestId::OTHER => "other".to_owned(),
        digest => digest.to_string(),
    }
}

pub(super) fn file(rows: &Rows) -> Result<Vec<u8>, String> {
    let digests: Vec<String> = rows.keys().map(|(.., digest, _, _)| named(*digest)).collect();
    let row = || rows.values().map(|kept| &kept.row);
    let quantile = |at: usize| row().map(move |row| row.rt_last.quantiles[at]);
    let first = |at: usize| row().map(move |row| row.rt_first.quantiles[at]);
    Columns::default()
        .time("start", rows.keys().map(|(_, start, ..)| start.saturating_mul(1_000_000)))
        .small("width_seconds", rows.keys().map(|(width, ..)| *width))
        .text("instance", rows.keys().map(|(_, _, instance, ..)| &**instance))
        .text("schema", rows.keys().map(|(.., schema, _)| &**schema))
        .text("user", rows.keys().map(|(.., user)| &**user))
        .text("digest", digests.iter().map(String::as_str))
        .text("source", row().map(|row| row.source.as_str()))
        .number("queries", row().map(|row| row.count))
        .number("errors", row().map(|row| row.errors))
        .maybe("killed", row().map(|row| row.killed))
        .maybe("timed_out", row().map(|row| row.timed_out))
        .number("rows_sent", row().map(|row| row.rows_sent))
        .number("rows_affected", row().map(|row| row.rows_affected))
        .maybe("rows_examined", row().map(|row| row.rows_examined))
        .number("bytes_received", row().map(|row| row.bytes_in))
        .number("bytes_sent", row().map(|row| row.bytes_out))
        .maybe("lock_us", row().map(|row| row.lock_us))
        .number("sum_us", row().map(|row| row.rt_sum_us))
        .number("min_us", row().map(|row| row.rt_min_us))
        .number("max_us", row().map(|row| row.rt_max_us))
        .maybe("p50_us", quantile(0))
        .maybe("p95_us", quantile(1))
        .maybe("p99_us", quantile(2))
        .maybe("first_p50_us", first(0))
        .maybe("first_p95_us", first(1))
        .maybe("first_p99_us", first(2))
        .bytes("sketch", row().map(|row| &*row.rt_last.packed))
        .bytes("first_sketch", row().map(|row| &*row.rt_first.packed))
        .small("folded", row().map(|row| row.folded))
        .small("revision", rows.values().map(|kept| kept.revision))
        .file()
}
