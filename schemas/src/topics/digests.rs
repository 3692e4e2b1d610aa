//! Topic `digests`: what a digest is, compacted by digest. Texts hold no literals.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::event::{Payload, Subject};
use crate::ids::DigestId;
use crate::time::Timestamp;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Entry {
    /// A digest and its text.
    #[serde(rename = "millrace.digest.v1")]
    Digest(DigestEntry),
}

impl Payload for Entry {
    const TOPIC: Topic = Topic::Digests;
    const KINDS: &'static [&'static str] = &["millrace.digest.v1"];
    fn key(&self, _: &Subject) -> String {
        let Self::Digest(entry) = self;
        entry.digest.to_string()
    }
}

/// A digest and its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DigestEntry {
    /// The id.
    pub digest: DigestId,
    /// The canonical text.
    pub text: String,
    /// The statement type, as the server's `Com_*` counters name it.
    pub kind: String,
    /// Tables that the text names.
    pub tables: Vec<String>,
    /// True when the statement was cut before its end.
    pub truncated: bool,
    /// When it was first seen, in the second of the statement.
    pub first_seen: Timestamp,
    /// True once the parser has looked at it and filled in `tables`.
    #[serde(default)]
    pub parsed: bool,
}
