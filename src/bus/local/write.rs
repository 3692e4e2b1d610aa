//! The one writer: takes what producers sent meanwhile, commits it in one transaction, then wakes the readers and answers.
//! Append times are made here and never go back, not even when the wall clock does or the process restarts.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use millrace_schemas::metrics::{BUS_APPENDED, BUS_COMMITS, BUS_EXPIRED, BUS_REFUSED};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::{Retention, Topic};
use rusqlite::params;
use tokio::sync::oneshot;

use super::file::{self, Opened};
use super::{Shared, TAIL_RECORDS, landed, wall_clock};
use crate::bus::failpoint::failpoint;
use crate::bus::{Error, Landed, Snapshot, tally};

/// 4,000 records in one commit take about 20 ms: the p99 that a producer may be asked to wait.
const BATCH_RECORDS_MAX: usize = 4_000;
/// Retention runs once a minute, between commits.
const EXPIRE_EVERY: Duration = Duration::from_mins(1);
/// 2,000 deletions in one transaction stay well under the 20 ms that a producer may wait.
const EXPIRE_ROWS_MAX: usize = 2_000;

type Answer = oneshot::Sender<Result<Vec<Landed>, Error>>;

#[derive(Debug)]
pub(super) enum Request {
    Append { records: Vec<NewRecord>, reply: Answer },
    Save { snapshots: Vec<Snapshot>, reply: mpsc::SyncSender<Result<(), Error>> },
    Commit { group: String, topic: Topic, next: u64, reply: mpsc::SyncSender<Result<(), Error>> },
    Expire { now: Timestamp, reply: mpsc::SyncSender<Result<u64, Error>> },
    Close,
}

pub(super) struct Writer {
    opened: Opened,
    shared: Arc<Shared>,
    /// The newest append time given out.
    newest: Timestamp,
}

impl Writer {
    pub(super) fn new(opened: Opened, shared: Arc<Shared>) -> Self {
        let newest = opened.newest;
        Self { opened, shared, newest }
    }

    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Request>) {
        let mut expired = Instant::now();
        loop {
            match inbox.recv_timeout(EXPIRE_EVERY) {
                Ok(Request::Close) | Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Ok(Request::Append { records, reply }) => {
                    if self.append(records, reply, inbox) {
                        break;
                    }
                }
                Ok(other) => self.serve(other),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if expired.elapsed() >= EXPIRE_EVERY {
                expired = Instant::now();
                if let Err(error) = self.expire(wall_clock()) {
                    tracing::warn!(%error, "retention did not run");
                }
            }
        }
        self.shared.lock().closed = true;
        self.shared.grown.notify_all();
        let _ = self.opened.connection.pragma_update(None, "wal_checkpoint", "truncate");
        // Unlocked by name: a child that this process is just starting holds a copy of the descriptor until it has begun.
        let _ = rustix::fs::flock(&self.opened.lock, rustix::fs::FlockOperation::Unlock);
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Save { snapshots, reply } => {
                let _ = reply.send(self.save(&snapshots));
            }
            Request::Commit { group, topic, next, reply } => {
                let _ = reply.send(self.commit(&group, topic, next));
            }
            Request::Expire { now, reply } => {
                let _ = reply.send(self.expire(now));
            }
            Request::Append { .. } | Request::Close => unreachable!("both are handled by the loop"),
        }
    }

    /// Commits `records` with all that has come meanwhile. True when the bus is to close.
    fn append(&mut self, records: Vec<NewRecord>, reply: Answer, inbox: &mpsc::Receiver<Request>) -> bool {
        failpoint("append.received");
        let mut count = records.len();
        let mut batches = vec![(records, reply)];
        let mut others = Vec::new();
        let mut close = false;
        while count < BATCH_RECORDS_MAX && !close {
            match inbox.try_recv() {
                Ok(Request::Append { records, reply }) => {
                    count += records.len();
                    batches.push((records, reply));
                }
                Ok(Request::Close) => close = true,
                Ok(other) => others.push(other),
                Err(_) => break,
            }
        }
        self.group_commit(batches);
        for other in others {
            self.serve(other);
        }
        close
    }

    fn group_commit(&mut self, batches: Vec<(Vec<NewRecord>, Answer)>) {
        let appended = self.newest.max(wall_clock());
        let mut stamped: Vec<Record> = Vec::new();
        let mut answers = Vec::new();
        {
            let state = self.shared.lock();
            let mut ends: std::collections::HashMap<Topic, u64> =
                state.tails.iter().map(|(topic, tail)| (*topic, tail.end)).collect();
            for (records, reply) in batches {
                let mut places = Vec::with_capacity(records.len());
                for record in records {
                    let end = ends.entry(record.topic).or_insert(0);
                    places.push(landed(*end, appended));
                    stamped.push(record.stored(0, *end, appended));
                    *end += 1;
                }
                answers.push((places, reply));
            }
        }
        let outcome = self.insert(&stamped).map_err(|error| file::explain(&self.opened.path, &error));
        let counter = if outcome.is_ok() { &BUS_APPENDED } else { &BUS_REFUSED };
        tally(&self.shared.metrics, counter, stamped.iter().map(|record| record.topic));
        if outcome.is_ok() {
            self.newest = appended;
            failpoint("append.committed");
            self.publish(stamped);
            failpoint("append.published");
        }
        for (places, reply) in answers {
            let _ = reply.send(outcome.clone().map(|()| places));
        }
    }

    fn insert(&mut self, records: &[Record]) -> rusqlite::Result<()> {
        let transaction = self.opened.connection.transaction()?;
        for record in records {
            let headers = serde_json::to_string(&record.headers).unwrap_or_else(|_| "{}".to_owned());
            transaction
                .prepare_cached(&format!(
                    "INSERT INTO {}(offset, key, appended, headers, value) VALUES(?1, ?2, ?3, ?4, ?5)",
                    file::table(record.topic)
                ))?
                .execute(params![
                    record.offset as i64,
                    record.key,
                    record.appended.0,
                    headers,
                    record.value.as_deref()
                ])?;
        }
        failpoint("append.inserted");
        transaction.commit()?;
        self.shared.metrics.add(&BUS_COMMITS, &[], 1);
        Ok(())
    }

    fn publish(&self, records: Vec<Record>) {
        let mut state = self.shared.lock();
        for record in records {
            let tail = state.tails.entry(record.topic).or_default();
            tail.end = record.offset + 1;
            tail.records.push_back(record);
            if tail.records.len() > TAIL_RECORDS {
                tail.records.pop_front();
            }
        }
        drop(state);
        self.shared.grown.notify_all();
    }

    fn save(&mut self, snapshots: &[Snapshot]) -> Result<(), Error> {
        let path = self.opened.path.clone();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.opened.connection.transaction()?;
            for snapshot in snapshots {
                transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO snapshots(processor, entity, next, value) VALUES(?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![snapshot.processor, snapshot.entity, snapshot.next as i64, snapshot.value])?;
            }
            failpoint("snapshot.written");
            transaction.commit()
        };
        write().map_err(|error| file::explain(&path, &error))?;
        failpoint("snapshot.committed");
        Ok(())
    }

    fn commit(&mut self, group: &str, topic: Topic, next: u64) -> Result<(), Error> {
        let path = self.opened.path.clone();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.opened.connection.transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO group_offsets(grp, topic, next) VALUES(?1, ?2, ?3)",
                params![group, topic.name(), next as i64],
            )?;
            failpoint("offset.written");
            transaction.commit()
        };
        write().map_err(|error| file::explain(&path, &error))?;
        failpoint("offset.committed");
        Ok(())
    }

    /// Removes what retention and compaction no longer keep, in small transactions.
    fn expire(&mut self, now: Timestamp) -> Result<u64, Error> {
        let path = self.opened.path.clone();
        let mut gone = 0;
        for topic in Topic::ALL {
            loop {
                let rows = self.expire_some(topic, now).map_err(|error| file::explain(&path, &error))?;
                self.shared.metrics.add(&BUS_EXPIRED, &[topic.name()], rows as u64);
                gone += rows as u64;
                if rows < EXPIRE_ROWS_MAX {
                    break;
                }
            }
        }
        Ok(gone)
    }

    fn expire_some(&mut self, topic: Topic, now: Timestamp) -> rusqlite::Result<usize> {
        let table = file::table(topic);
        let end = self.shared.lock().tails.get(&topic).map_or(0, |tail| tail.end);
        let transaction = self.opened.connection.transaction()?;
        // The end outlives its records: offsets are never given out twice.
        transaction
            .execute("INSERT OR REPLACE INTO ends(topic, next) VALUES(?1, ?2)", params![topic.name(), end as i64])?;
        let rows = match topic.retention() {
            Retention::For(age) => transaction.execute(
                &format!("DELETE FROM {table} WHERE offset IN (SELECT offset FROM {table} WHERE appended < ?1 ORDER BY offset LIMIT ?2)"),
                params![(now - age).0, EXPIRE_ROWS_MAX as i64],
            )?,
            Retention::Compacted => transaction.execute(
                &format!(
                    "DELETE FROM {table} WHERE offset IN (SELECT old.offset FROM {table} old
                         WHERE EXISTS (SELECT 1 FROM {table} new WHERE new.key = old.key AND new.offset > old.offset) LIMIT ?1)"
                ),
                params![EXPIRE_ROWS_MAX as i64],
            )?,
        };
        failpoint("retention.deleted");
        transaction.commit()?;
        Ok(rows)
    }
}
