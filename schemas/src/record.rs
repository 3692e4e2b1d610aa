//! What every bus carries: keyed bytes with headers in topics, numbered by offset and stamped with the append time.

use std::collections::BTreeMap;

/// The value of a record: shared, never copied.
pub use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::time::Timestamp;
use crate::topics::Topic;

/// Header that marks a record whose kind a reader must not skip when it does not know it: it may be evidence.
pub const EVIDENCE: &str = "evidence";

/// 1 MiB, Kafka's default limit too: statements are cut at 16 KiB, so only a defect makes a larger record.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The partition, of `partitions`, in which everything lies that is placed by `key`: by the cluster, for `digests` by the digest.
/// It is the same on every bus, so that a reader knows where something may lie, and a copy that lies elsewhere.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    (xxh3_64(key.as_bytes()) % u64::from(partitions.max(1))) as u32
}

/// Headers: names to text.
pub type Headers = BTreeMap<String, String>;

/// A record before the bus has numbered and stamped it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRecord {
    /// Where it goes.
    pub topic: Topic,
    /// What places it in a partition: the cluster, for `digests` the digest.
    pub partition_key: String,
    /// What compaction keeps.
    pub key: String,
    /// Headers.
    pub headers: Headers,
    /// The bytes; `None` is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
}

impl NewRecord {
    /// As readers get it from this place.
    pub fn stored(self, partition: u32, offset: u64, appended: Timestamp) -> Record {
        let Self { topic, partition_key: _, key, headers, value } = self;
        Record { topic, partition, offset, appended, key, headers, value }
    }
}

/// A record as readers get it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it was read.
    pub topic: Topic,
    /// The partition.
    pub partition: u32,
    /// Position in the partition, from 0, without gaps for one bus file.
    pub offset: u64,
    /// The bus's own time at append: never decreases within a partition.
    pub appended: Timestamp,
    /// What compaction keeps.
    pub key: String,
    /// Headers.
    pub headers: Headers,
    /// The bytes.
    pub value: Option<Bytes>,
}
