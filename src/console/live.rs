//! Streams: server-sent events that say that something changed, for the pages, and the records of a topic, for subscribers.
//! Delivery is at least once with stable ids (`PARTITION-OFFSET`); a subscriber that comes back sends the last one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use millrace_schemas::record::{Headers, Record};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::queries::{self, Row};
use millrace_schemas::topics::windows;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Console;
use crate::bus::{Assignment, From, Polled, follow};
use crate::journal::SCHEMA_VERSION;

/// 1 s between two changes of a page: faster nobody reads.
const CHANGE_EVERY: Duration = Duration::from_secs(1);
/// 15 s between comments that keep a silent stream open through proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// 64 events wait for a slow subscriber; then the reader waits too.
const BUFFER: usize = 64;

/// The script of all pages: without it they are complete, with it they follow.
const SCRIPT: &str = include_str!("live.js");

pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")], SCRIPT)
        .into_response()
}

/// Says that the view changed, at most once a second.
pub(super) async fn changes(State(console): State<Console>) -> Response {
    let Some(permit) = permit(&console) else { return too_many() };
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let _permit = permit;
        let mut seen = None;
        let mut stop = console.stop.clone();
        while !sender.is_closed() {
            let generation = console.view().generation();
            if seen != Some(generation) {
                seen = Some(generation);
                let event = Event::default().event("changed").data(generation.to_string());
                if sender.send(Ok::<_, Infallible>(event)).await.is_err() {
                    return;
                }
            }
            if tokio::time::timeout(CHANGE_EVERY, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    });
    stream(receiver)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    from: Option<String>,
}

/// The records of a topic as lines of JSON: `?from=start`, `end` (the default) or an offset.
pub(super) async fn events(
    State(console): State<Console>,
    Path(topic): Path<String>,
    Query(place): Query<Where>,
    headers: HeaderMap,
) -> Response {
    let topic: Topic = match topic.parse() {
        Ok(topic) => topic,
        Err(error) => return (StatusCode::NOT_FOUND, error + "\n").into_response(),
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let from = match start(place.from.as_deref(), last) {
        Ok(from) => from,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let Some(permit) = permit(&console) else { return too_many() };
    let mut polled = match follow(&console.bus, Assignment::Manual(vec![(topic, from)])) {
        Ok(polled) => polled,
        Err(error) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    };
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let _permit = permit;
        let mut stop = console.stop.clone();
        let mut had = Had::default();
        loop {
            let item = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = sender.closed() => return,
                item = polled.recv() => item,
            };
            let event = match item {
                Some(Ok(Polled::Record(record))) => Event::default().id(had.id_with(&record)).data(line(&record)),
                Some(Ok(Polled::Gained { partition, next, .. })) => {
                    had.begins(partition, next);
                    continue;
                }
                // Who subscribes here is shown what is believed; the rest is in `dead`.
                Some(Ok(Polled::Lost { .. } | Polled::Refused { .. })) => continue,
                Some(Err(error)) => Event::default().comment(error.to_string().replace(['\r', '\n'], " ")),
                None => return,
            };
            if sender.send(Ok::<_, Infallible>(event)).await.is_err() {
                return;
            }
        }
    });
    stream(receiver)
}

/// The last record that a subscriber had of each partition, as the id of an event.
#[derive(Debug, Default)]
struct Had(BTreeMap<u32, u64>);

impl Had {
    /// A reader begins a partition at `next`.
    fn begins(&mut self, partition: u32, next: u64) {
        if let Some(before) = next.checked_sub(1) {
            self.0.insert(partition, before);
        }
    }

    fn id_with(&mut self, record: &Record) -> String {
        self.0.insert(record.partition, record.offset);
        self.0.iter().map(|(partition, offset)| format!("{partition}-{offset}")).collect::<Vec<_>>().join(",")
    }
}

/// A subscriber that comes back goes on after the last record it had of each partition.
fn start(from: Option<&str>, last: Option<&str>) -> Result<From, String> {
    if let Some(id) = last {
        let next = |part: &str| {
            let (partition, offset) = part.split_once('-')?;
            Some((partition.parse().ok()?, offset.parse::<u64>().ok()?.saturating_add(1)))
        };
        return id.split(',').map(next).collect::<Option<_>>().map(From::Offsets).ok_or_else(|| {
            "the header Last-Event-ID is not PARTITION-OFFSET,PARTITION-OFFSET.., as this stream sends it\n".to_owned()
        });
    }
    from.map_or(Ok(From::End), |from| from.parse().map_err(|why| format!("from is {why}: try ?from=start\n")))
}

fn permit(console: &Console) -> Option<OwnedSemaphorePermit> {
    std::sync::Arc::clone(&console.streams).try_acquire_owned().ok()
}

fn too_many() -> Response {
    let text = "too many streams are open: close a page or a subscriber and come back\n";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response()
}

fn stream(receiver: mpsc::Receiver<Result<Event, Infallible>>) -> Response {
    Sse::new(ReceiverStream::new(receiver))
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("still here"))
        .into_response()
}

/// A record as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema_version: u32,
    topic: Topic,
    partition: u32,
    offset: u64,
    appended: String,
    key: &'a str,
    headers: &'a Headers,
    value: Option<Value>,
}

/// A record as JSON: events as they are, Arrow batches as rows, what cannot be read as its length.
pub(crate) fn line(record: &Record) -> String {
    let line = Line {
        schema_version: SCHEMA_VERSION,
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        appended: record.appended.to_string(),
        key: &record.key,
        headers: &record.headers,
        value: record.value.as_deref().map(|bytes| value(record.topic, bytes)),
    };
    serde_json::to_string(&line).expect("plain data encodes into memory")
}

fn value(topic: Topic, bytes: &[u8]) -> Value {
    let unreadable = || json!({ "unreadable_bytes": bytes.len() });
    match topic {
        Topic::Queries => queries::decode(bytes).map_or_else(|_| unreadable(), |rows| rows.iter().map(row).collect()),
        Topic::Windows => windows::decode(bytes).map_or_else(
            |_| unreadable(),
            |windows| {
                let lines = windows.iter().map(|window| {
                    let mut line = row(&window.row);
                    line["width_seconds"] = window.width_seconds.into();
                    line["revision"] = window.revision.into();
                    line["final"] = window.closed.into();
                    line
                });
                lines.collect()
            },
        ),
        _ => serde_json::from_slice(bytes).unwrap_or_else(|_| unreadable()),
    }
}

fn row(row: &Row) -> Value {
    json!({
        "start": row.second,
        "instance": row.instance,
        "schema": row.schema,
        "user": row.user,
        "digest": row.digest,
        "source": row.source,
        "sample_factor": row.sample_factor,
        "count": row.count,
        "errors": row.errors,
        "killed": row.killed,
        "timed_out": row.timed_out,
        "rows_sent": row.rows_sent,
        "rows_affected": row.rows_affected,
        "rows_examined": row.rows_examined,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "rt_sum_us": row.rt_sum_us,
        "rt_min_us": row.rt_min_us,
        "rt_max_us": row.rt_max_us,
        "rt_p50_us": row.rt_last.quantile(0.5),
        "rt_p99_us": row.rt_last.quantile(0.99),
    })
}
