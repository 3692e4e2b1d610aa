//! Signatures of records: who said it, and that it is here as it was said. In: a record and a private key, or a record and the
//! roster of public keys. Out: two headers, or a refusal that names what is wrong.
//! A signature covers the topic, the key that compaction keeps, the evidence mark and the value; so a record that is changed,
//! or copied to another topic or cluster, is refused. Pure: no clock, no I/O, no randomness (Ed25519 needs none to sign).
//! It must never say yes to what it does not know.

mod key;
mod may;
mod refusal;
mod roster;
mod verified;

pub use key::{BadKey, KeyId, PublicKey, Signer};
pub use refusal::Refusal;
pub use roster::{About, Entry, Role, Roster};
pub use verified::Verified;

use crate::record::{EVIDENCE, Headers, NewRecord};
use crate::topics::Topic;

/// Header with the signature, in base64.
pub const SIGNATURE: &str = "signature";
/// Header that names the key.
pub const KEY: &str = "key-id";

/// What every signed text begins with: a signature of something else with the same key is never one of a record, and another
/// encoding gets another number.
const DOMAIN: &[u8] = b"millrace-record-v1";

/// Whether records of a topic are signed: facts, actions, alerts and routes, on which somebody acts. What is only counted and
/// looked at (`queries`, `samples`, `windows`, `slow-queries`, `digests`, `inventory`) is not, and `dead` holds what others wrote.
pub const fn is_due(topic: Topic) -> bool {
    matches!(topic, Topic::Journal | Topic::Actions | Topic::Alerts | Topic::Routes)
}

/// The bytes that are signed. Each part is preceded by its length, so that two different records never give the same bytes.
fn signed_bytes(topic: Topic, key: &str, headers: &Headers, value: Option<&[u8]>) -> Vec<u8> {
    let evidence = headers.get(EVIDENCE).map_or("", String::as_str);
    let body = value.unwrap_or_default();
    let parts: [&[u8]; 6] =
        [DOMAIN, topic.name().as_bytes(), key.as_bytes(), evidence.as_bytes(), &[u8::from(value.is_some())], body];
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl Signer {
    /// Signs what is to be appended: sets both headers. What is signed already stays as it is (a dead letter that is replayed
    /// keeps the word of who wrote it), and so do topics on which no signature is due.
    pub fn sign(&self, record: &mut NewRecord) {
        if !is_due(record.topic) || record.headers.contains_key(SIGNATURE) {
            return;
        }
        let bytes = signed_bytes(record.topic, &record.key, &record.headers, record.value.as_deref());
        record.headers.insert(SIGNATURE.to_owned(), self.signature(&bytes));
        record.headers.insert(KEY.to_owned(), self.id().to_string());
    }
}

#[cfg(test)]
mod tests;
