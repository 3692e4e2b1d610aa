//! The bus: topics of keyed records, in order per partition, stamped with the append time, read by manual or group
//! assignment. One trait, several implementations, one conformance suite (`tests/bus`).
//! It promises order per partition and append at least once; readers de-duplicate by the sequence inside the event.
//! Calls block: a processor owns a thread. Async callers await the `Receipt` and bridge readers with [`follow`].

pub mod failpoint;
pub mod http;
pub mod kafka;
pub mod local;
pub mod memory;
pub mod signed;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use millrace_schemas::metrics::{Metric, Registry};
use millrace_schemas::record::{Bytes, NewRecord, Record, VALUE_BYTES_MAX};
use millrace_schemas::signing::Refusal;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Why the bus did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// It cannot now; the same call may work later. Nothing was half done.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
    /// Another process has the file open.
    #[error("the bus file {path} is open in another process{by}: stop it, or ask it over HTTP")]
    OpenElsewhere {
        /// The file.
        path: String,
        /// ` (pid N)`, when it is known.
        by: String,
    },
    /// Written by a newer version.
    #[error("the bus file {path} has format {found}, this version reads up to {known}: run the newer version")]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Not a bus file, or broken.
    #[error(
        "the bus file {path} is damaged: {problem}; restore it, or move it away and start with an empty one (the archive keeps the journal)"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        problem: String,
    },
    /// The process that has the bus does not serve this one.
    #[error("{address} refuses this process: {problem}")]
    Refused {
        /// Where it listens.
        address: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The token of the bus cannot be used.
    #[error("the token of the bus in {path} cannot be used: {problem}")]
    Token {
        /// Its file.
        path: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The record is larger than the bus takes.
    #[error("a record of {bytes} bytes for {topic} is over the limit of {limit} bytes")]
    TooLarge {
        /// Its topic.
        topic: Topic,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The record must be signed, and this process has no key.
    #[error(
        "a record for {topic} must be signed, and this process has no key: give [trust] a key-file, and enrol the key"
    )]
    NoKey {
        /// Its topic.
        topic: Topic,
    },
}

/// Where a record landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The append time.
    pub appended: Timestamp,
}

/// The pending answer to an append: resolves once the records are durable.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<Vec<Landed>, Error>>);

impl Receipt {
    /// A receipt and what resolves it.
    pub fn pending() -> (oneshot::Sender<Result<Vec<Landed>, Error>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Blocks until the records are durable. Not for async callers: they await.
    pub fn wait(self) -> Result<Vec<Landed>, Error> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(gone()))
    }

    /// The answer, if it is there by now. It is given once.
    pub fn answer(&mut self) -> Option<Result<Vec<Landed>, Error>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(gone())),
        }
    }
}

fn gone() -> Error {
    Error::Unavailable("the bus was closed before it answered".to_owned())
}

impl Future for Receipt {
    type Output = Result<Vec<Landed>, Error>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

/// Where a manual assignment starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    /// At the oldest record that is kept.
    Start,
    /// After the newest.
    End,
    /// Each partition at this offset, or the oldest kept after it.
    Offset(u64),
    /// Each partition at its own offset, as above; one that is not named at its start.
    Offsets(BTreeMap<u32, u64>),
}

impl From {
    /// The offset to begin a partition at, unless it is the end that is wanted.
    pub(crate) fn offset_of(&self, partition: u32) -> Option<u64> {
        match self {
            Self::End => None,
            Self::Start => Some(0),
            Self::Offset(offset) => Some(*offset),
            Self::Offsets(offsets) => Some(offsets.get(&partition).copied().unwrap_or(0)),
        }
    }
}

impl std::str::FromStr for From {
    type Err = String;

    /// `start`, `end` or an offset, as people write it.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            offset => offset.parse().map(Self::Offset).map_err(|_| "not 'start', 'end' or an offset".to_owned()),
        }
    }
}

/// What a reader reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assignment {
    /// All partitions of these topics. Deciders and views read so: several copies read the same.
    Manual(Vec<(Topic, From)>),
    /// A share of the partitions of these topics; the group's committed offsets say where to go on.
    Group {
        /// The group.
        group: String,
        /// The topics.
        topics: Vec<Topic>,
    },
    /// All partitions of these topics for the one reader of this name, from where it committed. Nobody shares with it, so it
    /// never waits for the others of a group to let go.
    Own {
        /// The name under which it commits.
        name: String,
        /// The topics.
        topics: Vec<Topic>,
    },
}

impl Assignment {
    /// The topics.
    pub fn topics(&self) -> Vec<Topic> {
        match self {
            Self::Manual(topics) => topics.iter().map(|(topic, _)| *topic).collect(),
            Self::Group { topics, .. } | Self::Own { topics, .. } => topics.clone(),
        }
    }
}

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Polled {
    /// From here on it reads this partition, starting at `next`.
    Gained {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: u32,
        /// The first offset it will see.
        next: u64,
    },
    /// It no longer reads this partition.
    Lost {
        /// The topic.
        topic: Topic,
        /// The partition.
        partition: u32,
    },
    /// A record.
    Record(Record),
    /// A record that is not believed. Its position counts as read; nothing is done that it says.
    Refused {
        /// As it was.
        record: Record,
        /// Why it is not believed.
        why: Refusal,
    },
}

/// Reads what it was assigned.
pub trait Reader: Send {
    /// What has come, waiting up to `wait` when nothing has. An empty answer means silence.
    fn poll(&mut self, wait: Duration) -> Result<Vec<Polled>, Error>;
    /// For groups and owners: everything before `next` has been dealt with.
    fn commit(&mut self, topic: Topic, partition: u32, next: u64) -> Result<(), Error>;
    /// The partitions that it holds and of which the bus has more by now than was read. Who acts on what it read asks first.
    fn unread(&mut self) -> Result<BTreeSet<u32>, Error>;
}

/// The state of one key of a processor, with the input offset that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `NAME.VERSION` of the processor.
    pub processor: String,
    /// The partition of the input that it was folded from.
    pub partition: u32,
    /// The key, or what else the processor calls this part of its state.
    pub entity: String,
    /// The next input offset of that partition to read.
    pub next: u64,
    /// The state.
    pub value: Vec<u8>,
}

/// A bus.
pub trait Bus: Send + Sync {
    /// Appends `records` in order. The receipt resolves once they are durable, or says why they are not; then none of
    /// them is, or (at least once) some were and may come twice. What failed is counted, so a receipt may be dropped.
    fn append(&self, records: Vec<NewRecord>) -> Receipt;
    /// A new reader.
    fn reader(&self, assignment: Assignment) -> Result<Box<dyn Reader>, Error>;
    /// How many partitions `topic` has.
    fn partitions(&self, topic: Topic) -> Result<u32, Error>;
    /// The offset that the next record of each partition of `topic` will get, in the order of the partitions.
    fn ends(&self, topic: Topic) -> Result<Vec<u64>, Error>;
    /// The same of one partition.
    fn end(&self, topic: Topic, partition: u32) -> Result<u64, Error> {
        let ends = self.ends(topic)?;
        let none = || Error::Unavailable(format!("{topic} has no partition {partition}, only {}", ends.len()));
        ends.get(partition as usize).copied().ok_or_else(none)
    }
    /// Stores snapshots in order: where a later one of a partition is stored, so are the earlier ones.
    fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error>;
    /// The newest snapshot of every entity of a processor, by partition and entity.
    fn load(&self, processor: &str) -> Result<Vec<Snapshot>, Error>;
}

/// Why no bus takes a record, when none does.
pub(crate) fn too_large(record: &NewRecord) -> Option<Error> {
    let bytes = record.value.as_ref().map_or(0, Bytes::len);
    let limit = VALUE_BYTES_MAX;
    (bytes > limit).then_some(Error::TooLarge { topic: record.topic, bytes, limit })
}

/// Counts records by their topics.
fn tally(metrics: &Registry, counter: &'static Metric, topics: impl Iterator<Item = Topic>) {
    let mut records: BTreeMap<Topic, u64> = BTreeMap::new();
    for topic in topics {
        *records.entry(topic).or_default() += 1;
    }
    for (topic, records) in records {
        metrics.add(counter, &[topic.name()], records);
    }
}

/// A shared bus.
pub type SharedBus = Arc<dyn Bus>;

impl fmt::Debug for dyn Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bus")
    }
}

/// 1,024 polled items wait between a reader's thread and its async consumer: some MiB at most, then the thread waits.
const FOLLOW_BUFFER: usize = 1_024;
/// 200 ms: how long a reader's thread sleeps at most before it sees that its consumer has gone.
const FOLLOW_WAIT: Duration = Duration::from_millis(200);

/// Reads on a thread of its own and hands on to async code. Ends when the receiver is dropped.
pub fn follow(bus: &SharedBus, assignment: Assignment) -> Result<mpsc::Receiver<Result<Polled, Error>>, Error> {
    let mut reader = bus.reader(assignment)?;
    let (sender, receiver) = mpsc::channel(FOLLOW_BUFFER);
    std::thread::Builder::new()
        .name("bus-follow".to_owned())
        .spawn(move || {
            while !sender.is_closed() {
                match reader.poll(FOLLOW_WAIT) {
                    Ok(items) => {
                        for item in items {
                            if sender.blocking_send(Ok(item)).is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        if sender.blocking_send(Err(error)).is_err() {
                            return;
                        }
                        std::thread::sleep(FOLLOW_WAIT);
                    }
                }
            }
        })
        .map_err(|error| Error::Unavailable(format!("no thread for a reader: {error}")))?;
    Ok(receiver)
}
