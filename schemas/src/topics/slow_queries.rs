//! Topic `slow-queries`: single slow statements, literals masked unless the owner opted in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::event::{Payload, Subject};
use crate::ids::DigestId;
use crate::time::Timestamp;

/// 8 KiB of a statement tell what it is; the digest and the length stand for the rest.
pub const SQL_BYTES_MAX: usize = 8 << 10;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Slow {
    /// One slow statement.
    #[serde(rename = "millrace.slow-query.v1")]
    Query(SlowQuery),
}

impl Payload for Slow {
    const TOPIC: Topic = Topic::SlowQueries;
    const KINDS: &'static [&'static str] = &["millrace.slow-query.v1"];
    fn key(&self, subject: &Subject) -> String {
        subject.instance.as_ref().map_or_else(String::new, |instance| instance.as_str().to_owned())
    }
}

/// One slow statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowQuery {
    /// When it ended, by the server's clock.
    pub ts: Timestamp,
    /// The account.
    pub user: String,
    /// The client's host.
    pub host: String,
    /// The default schema.
    pub schema: String,
    /// How long it took.
    pub query_time_us: u64,
    /// How long it waited for locks.
    pub lock_time_us: u64,
    /// Rows sent.
    pub rows_sent: u64,
    /// Rows examined.
    pub rows_examined: u64,
    /// The digest.
    pub digest: DigestId,
    /// The statement with its literals masked, cut at 8 KiB.
    pub sql: String,
    /// Length before the cut.
    pub sql_bytes: u64,
    /// How many of the same digest were suppressed since the last one that was sent.
    pub suppressed: u64,
    /// The error that it ended with, where the server says so; 0 is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u32>,
    /// How many statements each that is logged stands for, because the server leaves the others out; 1 when it leaves none out.
    #[serde(default = "one")]
    pub sample_factor: u32,
}

/// What earlier versions did not say.
fn one() -> u32 {
    1
}
