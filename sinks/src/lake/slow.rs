//! The table `slow-queries`: slow statements enter, rows of a file leave. Statements are as the agent sent them: masked, unless their
//! owner wants otherwise.

use std::collections::BTreeMap;

use millrace_schemas::event::{Event, Unreadable};
use millrace_schemas::ids::{EventId, InstanceId};
use millrace_schemas::record::Record;
use millrace_schemas::topics::slow_queries::{Slow, SlowQuery};

use super::file::Columns;
use super::{Counted, Days, Recent, day_of};

/// The rows of a day and cluster, by when their statement ended, the instance, and the id of the event.
pub(super) type Rows = BTreeMap<(i64, String, EventId), SlowQuery>;

pub(super) fn take(record: &Record, days: &mut Days<Rows>, recent: &mut Recent) -> Result<Counted, Unreadable> {
    let event = match Event::<Slow>::from_record(record) {
        Ok(event) => event,
        Err(Unreadable::UnknownKind(_)) => return Ok(Counted::default()),
        Err(error) => return Err(error),
    };
    let Slow::Query(query) = event.payload;
    let no_time = || Unreadable::Malformed("a statement ended at no time of any calendar".to_owned());
    let day = day_of(query.ts.0).ok_or_else(no_time)?;
    if !recent.is_news(&event.id, 1, record.offset) {
        return Ok(Counted { rows: 0, repeated: 1 });
    }
    let instance = event.subject.instance.as_ref().map_or("", InstanceId::as_str).to_owned();
    let rows = days.entry((day, event.subject.cluster.as_str().to_owned())).or_default();
    rows.insert((query.ts.0, instance, event.id), query);
    Ok(Counted { rows: 1, repeated: 0 })
}

pub(super) fn file(rows: &Rows) -> Result<Vec<u8>, String> {
    let digests: Vec<String> = rows.values().map(|row| row.digest.to_string()).collect();
    let ids: Vec<String> = rows.keys().map(|(_, _, id)| id.to_string()).collect();
    let row = || rows.values();
    Columns::default()
        .time("ended", row().map(|row| row.ts.0))
        .text("instance", rows.keys().map(|(_, instance, _)| instance.as_str()))
        .text("schema", row().map(|row| row.schema.as_str()))
        .text("user", row().map(|row| row.user.as_str()))
        .text("client", row().map(|row| row.host.as_str()))
        .text("digest", digests.iter().map(String::as_str))
        .text("sql", row().map(|row| row.sql.as_str()))
        .number("sql_bytes", row().map(|row| row.sql_bytes))
        .number("query_us", row().map(|row| row.query_time_us))
        .number("lock_us", row().map(|row| row.lock_time_us))
        .number("rows_sent", row().map(|row| row.rows_sent))
        .number("rows_examined", row().map(|row| row.rows_examined))
        .maybe("error", row().map(|row| row.error.map(u64::from)))
        .small("sample_factor", row().map(|row| row.sample_factor))
        .number("suppressed", row().map(|row| row.suppressed))
        .text("id", ids.iter().map(String::as_str))
        .file()
}
