//! The local bus: one durable SQLite file in WAL mode, one partition per topic, for a laptop, a small site, the demo.
//! Exactly one process opens it. One writer thread group-commits what all producers sent meanwhile and wakes the readers
//! in memory; readers serve themselves from the newest records in memory, and from the file where they are further behind.

mod file;
mod read;
mod write;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use millrace_schemas::metrics::{BUS_REFUSED, Registry};
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use rusqlite::{OptionalExtension as _, params};

use super::{Assignment, Bus, Error, Landed, Reader, Receipt, Snapshot, tally, too_large};

/// 2,048 records per topic stay in memory for readers that keep up: at most some 10 MiB with usual records.
const TAIL_RECORDS: usize = 2_048;

/// The local bus. Dropping the last handle stops the writer after it has committed what it was given.
#[derive(Debug)]
pub struct LocalBus {
    shared: Arc<Shared>,
    requests: mpsc::Sender<write::Request>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    path: PathBuf,
}

/// What the writer and the readers share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    grown: Condvar,
    metrics: Arc<Registry>,
}

#[derive(Debug, Default)]
struct State {
    tails: HashMap<Topic, Tail>,
    /// Members of each (group, topic); the first one holds the partition.
    groups: HashMap<(String, Topic), VecDeque<u64>>,
    next_member: u64,
    closed: bool,
}

/// The newest records of a topic.
#[derive(Debug, Default)]
struct Tail {
    /// The offset that the next record gets.
    end: u64,
    records: VecDeque<Record>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalBus {
    /// Opens or creates the bus file at `path`.
    pub fn open(path: &Path, metrics: Arc<Registry>) -> Result<Self, Error> {
        let opened = file::open(path)?;
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), grown: Condvar::new(), metrics });
        for (topic, end) in &opened.ends {
            shared.lock().tails.insert(*topic, Tail { end: *end, records: VecDeque::new() });
        }
        let (requests, inbox) = mpsc::channel();
        let writer = write::Writer::new(opened, Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("bus-writer".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(|error| Error::Unavailable(format!("no thread for the bus writer: {error}")))?;
        Ok(Self { shared, requests, writer: Mutex::new(Some(thread)), path: path.to_owned() })
    }

    fn ask<T>(&self, request: impl FnOnce(mpsc::SyncSender<Result<T, Error>>) -> write::Request) -> Result<T, Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        let closed = || Error::Unavailable("the bus is closed".to_owned());
        self.requests.send(request(reply)).map_err(|_| closed())?;
        answer.recv().map_err(|_| closed())?
    }

    /// Runs retention and compaction now, as of `now`; returns how many records went.
    pub fn expire(&self, now: Timestamp) -> Result<u64, Error> {
        self.ask(|reply| write::Request::Expire { now, reply })
    }
}

impl Drop for LocalBus {
    fn drop(&mut self) {
        let _ = self.requests.send(write::Request::Close);
        if let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

impl Bus for LocalBus {
    fn append(&self, records: Vec<NewRecord>) -> Receipt {
        let (reply, receipt) = Receipt::pending();
        if let Some(error) = records.iter().find_map(too_large) {
            tally(&self.shared.metrics, &BUS_REFUSED, records.iter().map(|record| record.topic));
            let _ = reply.send(Err(error));
            return receipt;
        }
        // A failed send drops the reply, and the receipt says that the bus was closed.
        if let Err(mpsc::SendError(write::Request::Append { records, .. })) =
            self.requests.send(write::Request::Append { records, reply })
        {
            tally(&self.shared.metrics, &BUS_REFUSED, records.iter().map(|record| record.topic));
        }
        receipt
    }

    fn reader(&self, assignment: Assignment) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(read::LocalReader::new(&self.path, Arc::clone(&self.shared), self.requests.clone(), assignment)?))
    }

    fn partitions(&self, _: Topic) -> Result<u32, Error> {
        Ok(1)
    }

    fn ends(&self, topic: Topic) -> Result<Vec<u64>, Error> {
        Ok(vec![self.shared.lock().tails.get(&topic).map_or(0, |tail| tail.end)])
    }

    fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        self.ask(|reply| write::Request::Save { snapshots, reply })
    }

    fn load(&self, processor: &str) -> Result<Vec<Snapshot>, Error> {
        let path = &self.path;
        let connection = file::connect(path)?;
        let read = || -> rusqlite::Result<Vec<Snapshot>> {
            connection
                .prepare("SELECT entity, next, value FROM snapshots WHERE processor = ?1 ORDER BY entity")?
                .query_map(params![processor], |row| {
                    Ok(Snapshot {
                        processor: processor.to_owned(),
                        partition: 0,
                        entity: row.get(0)?,
                        next: row.get::<_, i64>(1)? as u64,
                        value: row.get(2)?,
                    })
                })?
                .collect()
        };
        read().map_err(|error| file::explain(path, &error))
    }
}

/// The wall clock. The one place where the local bus looks at it: append times are made from it.
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn committed_offset(connection: &rusqlite::Connection, group: &str, topic: Topic) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row(
            "SELECT next FROM group_offsets WHERE grp = ?1 AND topic = ?2",
            params![group, topic.name()],
            |row| row.get::<_, i64>(0),
        )
        .optional()
        .map(|next| next.map(|next| next as u64))
}

fn landed(offset: u64, appended: Timestamp) -> Landed {
    Landed { partition: 0, offset, appended }
}
