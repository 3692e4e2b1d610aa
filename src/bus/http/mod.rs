//! The bus of another process of this host, over HTTP. Exactly one process opens a bus file; it serves every other one
//! here, so that agents, executors, deciders, sinks and command lines can live and die apart from it.
//! One request is one call of the `Bus` trait, whole: what the owner answers is what its own bus answered.
//! It answers nobody who does not show the token, and it never spools: what lies on disk while the bus is away lies above.

mod client;
mod line;
mod reader;
mod server;
mod token;

use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::Topic;
use serde::{Deserialize, Serialize};

use super::{Assignment, Error, Landed, Polled, Snapshot};
pub use client::HttpBus;
pub use server::serve;
pub use token::Token;

/// Where requests go. The version is part of it: postcard has no names, so a change of these types is a new path.
const PATH: &str = "/bus/v2";
/// 64 MiB: the snapshots of a processor are the largest body, and they are some KiB per cluster.
const BODY_MAX: usize = 64 << 20;

/// A call of the bus.
#[derive(Debug, Serialize, Deserialize)]
enum Request {
    /// Several appends, each for itself, in this order.
    Append(Vec<Vec<NewRecord>>),
    /// Never answered: as long as its connection stands, the process lives, and its readers with it.
    Stay { client: u64 },
    /// A reader of one's own.
    Open { client: u64, assignment: Assignment },
    /// What has come for a reader. `had` is the last batch that arrived: the one after it is sent again until it did.
    Poll { reader: u64, had: u64, wait_ms: u64 },
    /// A group's position.
    Commit { reader: u64, topic: Topic, partition: u32, next: u64 },
    /// The reader goes.
    Close { reader: u64 },
    /// How many partitions.
    Partitions(Topic),
    /// Where each partition ends.
    Ends(Topic),
    /// Snapshots to store.
    Save(Vec<Snapshot>),
    /// Snapshots to load.
    Load(String),
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Appended(Vec<Result<Vec<Landed>, Error>>),
    Opened {
        reader: u64,
        items: Vec<Polled>,
    },
    Polled {
        batch: u64,
        items: Vec<Polled>,
    },
    Done,
    /// The reader is not there any more: nobody polled it, or the owner was started again.
    Gone,
    Partitions(u32),
    Ends(Vec<u64>),
    Loaded(Vec<Snapshot>),
}

/// What comes back: the owner's answer, or the error that its bus gave.
type Reply = Result<Answer, Error>;

/// A number that nobody else has: of a process, or of a reader.
fn unique() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // The standard library seeds each of them from the system.
    RandomState::new().hash_one(std::process::id())
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data encodes into memory")
}
