//! Readers of the local bus: from the records in memory while they keep up, from the file where they are behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use millrace_schemas::record::{Bytes, Headers, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use rusqlite::{Connection, params};

use super::{Shared, committed_offset, file, write};
use crate::bus::{Assignment, Error, From, Polled, Reader};

/// 500 records a poll: under a millisecond from the file, so that several topics share a reader fairly.
const POLL_RECORDS_MAX: usize = 500;

struct Position {
    next: u64,
    /// False until `Gained` was told, and for a group while another member holds the partition.
    held: bool,
}

pub(super) struct LocalReader {
    shared: Arc<Shared>,
    connection: Connection,
    path: std::path::PathBuf,
    requests: mpsc::Sender<write::Request>,
    positions: BTreeMap<Topic, Position>,
    group: Option<Group>,
}

/// Under which name positions are committed.
struct Group {
    name: String,
    /// Its number among those that share; absent for the one that owns all.
    member: Option<u64>,
}

impl LocalReader {
    pub(super) fn new(
        path: &Path,
        shared: Arc<Shared>,
        requests: mpsc::Sender<write::Request>,
        assignment: Assignment,
    ) -> Result<Self, Error> {
        let connection = file::connect(path)?;
        let mut reader =
            Self { shared, connection, path: path.to_owned(), requests, positions: BTreeMap::new(), group: None };
        match assignment {
            Assignment::Manual(topics) => {
                for (topic, from) in topics {
                    let next = reader.resolve(topic, &from)?;
                    reader.positions.insert(topic, Position { next, held: false });
                }
            }
            Assignment::Group { group, topics } => reader.join(group, topics),
            Assignment::Own { name, topics } => {
                reader.positions = topics.into_iter().map(|topic| (topic, Position { next: 0, held: false })).collect();
                reader.group = Some(Group { name, member: None });
            }
        }
        Ok(reader)
    }

    fn resolve(&self, topic: Topic, from: &From) -> Result<u64, Error> {
        match from.offset_of(0) {
            None => Ok(self.end(topic)),
            Some(offset) => self.oldest(topic, offset),
        }
    }

    fn end(&self, topic: Topic) -> u64 {
        self.shared.lock().tails.get(&topic).map_or(0, |tail| tail.end)
    }

    /// The oldest offset that is kept, from `offset` on.
    fn oldest(&self, topic: Topic, offset: u64) -> Result<u64, Error> {
        // The end is read first: a record that is appended while the file is asked must not be stepped over.
        let end = self.end(topic);
        let sql = format!("SELECT min(offset) FROM {} WHERE offset >= ?1", file::table(topic));
        let found: Option<i64> = self
            .connection
            .query_row(&sql, params![offset as i64], |row| row.get(0))
            .map_err(|error| file::explain(&self.path, &error))?;
        Ok(found.map_or(end, |found| found as u64))
    }

    fn join(&mut self, group: String, topics: Vec<Topic>) {
        let mut state = self.shared.lock();
        state.next_member += 1;
        let member = state.next_member;
        for topic in topics {
            state.groups.entry((group.clone(), topic)).or_default().push_back(member);
            self.positions.insert(topic, Position { next: 0, held: false });
        }
        drop(state);
        self.group = Some(Group { name: group, member: Some(member) });
    }

    /// Tells which partitions have come and gone since the last poll.
    fn assignment_changes(&mut self) -> Result<Vec<Polled>, Error> {
        let mut changes = Vec::new();
        let topics: Vec<Topic> = self.positions.keys().copied().collect();
        for topic in topics {
            let mine = match &self.group {
                None | Some(Group { member: None, .. }) => true,
                Some(Group { name, member }) => {
                    let state = self.shared.lock();
                    state.groups.get(&(name.clone(), topic)).and_then(|members| members.front().copied()) == *member
                }
            };
            let held = self.positions[&topic].held;
            if mine && !held {
                let next = match &self.group {
                    None => self.positions[&topic].next,
                    Some(Group { name, .. }) => {
                        let committed = committed_offset(&self.connection, name, topic)
                            .map_err(|error| file::explain(&self.path, &error))?;
                        self.oldest(topic, committed.unwrap_or(0))?
                    }
                };
                self.positions.insert(topic, Position { next, held: true });
                changes.push(Polled::Gained { topic, partition: 0, next });
            } else if !mine && held {
                self.positions.insert(topic, Position { next: 0, held: false });
                changes.push(Polled::Lost { topic, partition: 0 });
            }
        }
        Ok(changes)
    }

    fn records(&mut self) -> Result<Vec<Polled>, Error> {
        let mut out = Vec::new();
        let topics: Vec<Topic> = self.positions.iter().filter(|(_, at)| at.held).map(|(topic, _)| *topic).collect();
        for topic in topics {
            let next = self.positions[&topic].next;
            let records = match self.read_memory(topic, next) {
                Some(records) => records,
                None => self.read_file(topic, next).map_err(|error| file::explain(&self.path, &error))?,
            };
            if let (Some(last), Some(position)) = (records.last(), self.positions.get_mut(&topic)) {
                position.next = last.offset + 1;
            }
            out.extend(records.into_iter().map(Polled::Record));
        }
        Ok(out)
    }

    /// The records from `next` on, when all of them are still in memory.
    fn read_memory(&self, topic: Topic, next: u64) -> Option<Vec<Record>> {
        let state = self.shared.lock();
        let Some(tail) = state.tails.get(&topic) else { return Some(Vec::new()) };
        if next >= tail.end {
            return Some(Vec::new());
        }
        let first = tail.records.front()?.offset;
        let skip = usize::try_from(next.checked_sub(first)?).ok()?;
        Some(tail.records.iter().skip(skip).take(POLL_RECORDS_MAX).cloned().collect())
    }

    fn read_file(&self, topic: Topic, next: u64) -> rusqlite::Result<Vec<Record>> {
        let sql = format!(
            "SELECT offset, key, appended, headers, value FROM {} WHERE offset >= ?1 ORDER BY offset LIMIT ?2",
            file::table(topic)
        );
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Record> {
            let headers: String = row.get(3)?;
            let value: Option<Vec<u8>> = row.get(4)?;
            Ok(Record {
                topic,
                partition: 0,
                offset: row.get::<_, i64>(0)? as u64,
                appended: Timestamp(row.get(2)?),
                key: row.get(1)?,
                headers: serde_json::from_str::<Headers>(&headers).unwrap_or_default(),
                value: value.map(Bytes::from),
            })
        };
        self.connection.prepare_cached(&sql)?.query_map(params![next as i64, POLL_RECORDS_MAX as i64], read)?.collect()
    }
}

impl Reader for LocalReader {
    fn poll(&mut self, wait: Duration) -> Result<Vec<Polled>, Error> {
        let until = Instant::now() + wait;
        loop {
            let mut polled = self.assignment_changes()?;
            polled.extend(self.records()?);
            if !polled.is_empty() {
                return Ok(polled);
            }
            let state = self.shared.lock();
            if state.closed {
                return Err(Error::Unavailable("the bus is closed".to_owned()));
            }
            let grown = self
                .positions
                .iter()
                .any(|(topic, at)| at.held && state.tails.get(topic).is_some_and(|tail| tail.end > at.next));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            if !grown {
                // Spurious wake-ups only cost another look.
                drop(self.shared.grown.wait_timeout(state, left));
            }
        }
    }

    fn commit(&mut self, topic: Topic, _: u32, next: u64) -> Result<(), Error> {
        let Some(Group { name, .. }) = &self.group else { return Ok(()) };
        let (reply, answer) = mpsc::sync_channel(1);
        let closed = || Error::Unavailable("the bus is closed".to_owned());
        let request = write::Request::Commit { group: name.clone(), topic, next, reply };
        self.requests.send(request).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }

    fn unread(&mut self) -> Result<BTreeSet<u32>, Error> {
        // Each topic has one partition here.
        let more = self.positions.iter().any(|(topic, at)| at.held && at.next < self.end(*topic));
        Ok(more.then_some(0).into_iter().collect())
    }
}

impl Drop for LocalReader {
    fn drop(&mut self) {
        let Some(Group { name, member: Some(member) }) = &self.group else { return };
        let mut state = self.shared.lock();
        for topic in self.positions.keys() {
            if let Some(members) = state.groups.get_mut(&(name.clone(), *topic)) {
                members.retain(|other| other != member);
            }
        }
        drop(state);
        self.shared.grown.notify_all();
    }
}
