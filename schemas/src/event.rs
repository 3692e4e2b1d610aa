//! The envelope of facts and actions: CloudEvents 1.0, structured JSON. Enters and leaves: bytes of a record's value.
//! What cannot be read is an `Unreadable` that says which of the three cases of the design it is; nothing is dropped here.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, EventId, InstanceId};
use crate::marks::{BadSequence, Sequence};
use crate::record::{Bytes, EVIDENCE, Headers, NewRecord, Record, VALUE_BYTES_MAX};
use crate::time::Timestamp;
use crate::topics::Topic;

/// What a topic carries. Implemented by one enum (or struct) per topic.
pub trait Payload: Serialize + DeserializeOwned + JsonSchema {
    /// The topic.
    const TOPIC: Topic;
    /// Every CloudEvents `type` that this version knows.
    const KINDS: &'static [&'static str];
    /// True when a reader that does not know the kind must stop trusting its view of the cluster.
    fn is_evidence(&self) -> bool {
        false
    }
    /// The key that compaction keeps; by default the cluster.
    fn key(&self, subject: &Subject) -> String {
        subject.cluster.as_str().to_owned()
    }
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// The cluster: it decides the partition.
    pub cluster: ClusterId,
    /// The instance, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

impl Subject {
    /// A cluster as a whole.
    pub fn cluster(cluster: ClusterId) -> Self {
        Self { cluster, instance: None }
    }

    /// One instance of a cluster.
    pub fn instance(cluster: ClusterId, instance: InstanceId) -> Self {
        Self { cluster, instance: Some(instance) }
    }
}

/// A fact, an action, an alert, a route: with who says it, about what, and because of what.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<P> {
    /// Names the event; a replay mints the same.
    pub id: EventId,
    /// Who says it: `agent/HOST`, `failover.1`, `operator/NAME`.
    pub source: String,
    /// The source's own numbering.
    pub sequence: Sequence,
    /// The source's wall clock: for display, never for decisions.
    pub at: Timestamp,
    /// The bus's append time; zero until the bus has stamped it.
    pub appended: Timestamp,
    /// What it is about.
    pub subject: Subject,
    /// The event that caused it.
    pub cause: Option<EventId>,
    /// What it says.
    pub payload: P,
}

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not an event at all, or fields that do not fit: the record goes to `dead`.
    #[error("not a readable event: {0}")]
    Malformed(String),
    /// A kind of a newer version that claims to be evidence: the cluster drops to `observe`.
    #[error("unknown kind '{0}' marked as evidence: written by a newer version; upgrade this one")]
    UnknownEvidence(String),
    /// A kind of a newer version that may be skipped, counted.
    #[error("unknown kind '{0}', skipped")]
    UnknownKind(String),
}

#[derive(Serialize)]
struct Outgoing<'a, P> {
    specversion: &'static str,
    id: EventId,
    source: &'a str,
    sequence: String,
    time: String,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<EventId>,
    #[serde(flatten)]
    payload: &'a P,
}

#[derive(Deserialize)]
struct Head {
    specversion: String,
    r#type: String,
    id: EventId,
    source: String,
    sequence: String,
    time: String,
    subject: String,
    cause: Option<EventId>,
}

impl<P: Payload> Event<P> {
    /// The record that carries this event.
    pub fn to_record(&self) -> NewRecord {
        let mut headers = Headers::from([("content-type".to_owned(), "application/cloudevents+json".to_owned())]);
        if self.payload.is_evidence() {
            headers.insert(EVIDENCE.to_owned(), "true".to_owned());
        }
        let value = self.to_json();
        NewRecord {
            topic: P::TOPIC,
            partition_key: self.subject.cluster.as_str().to_owned(),
            key: self.payload.key(&self.subject),
            headers,
            value: Some(Bytes::from(value.into_bytes())),
        }
    }

    /// CloudEvents structured JSON.
    pub fn to_json(&self) -> String {
        let subject = match &self.subject.instance {
            Some(instance) => format!("{}/{instance}", self.subject.cluster),
            None => self.subject.cluster.to_string(),
        };
        serde_json::to_string(&Outgoing {
            specversion: "1.0",
            id: self.id,
            source: &self.source,
            sequence: self.sequence.to_string(),
            time: self.at.to_string(),
            subject,
            cause: self.cause,
            payload: &self.payload,
        })
        .expect("payloads have text keys and no failing serializers")
    }

    /// Reads the event that `record` carries.
    pub fn from_record(record: &Record) -> Result<Self, Unreadable> {
        let value =
            record.value.as_deref().ok_or_else(|| Unreadable::Malformed("the record has no value".to_owned()))?;
        let evidence = record.headers.get(EVIDENCE).is_some_and(|v| v == "true");
        let mut event = Self::from_json(value, evidence)?;
        event.appended = record.appended;
        Ok(event)
    }

    /// Reads an event; `evidence` is what the record's header says.
    pub fn from_json(value: &[u8], evidence: bool) -> Result<Self, Unreadable> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Unreadable::Malformed(format!("{} bytes; the limit is {VALUE_BYTES_MAX}", value.len())));
        }
        let malformed = |error: serde_json::Error| Unreadable::Malformed(error.to_string());
        let head: Head = serde_json::from_slice(value).map_err(malformed)?;
        if head.specversion != "1.0" {
            return Err(Unreadable::Malformed(format!("specversion '{}'; 1.0 is expected", head.specversion)));
        }
        if !P::KINDS.contains(&head.r#type.as_str()) {
            return Err(if evidence {
                Unreadable::UnknownEvidence(head.r#type)
            } else {
                Unreadable::UnknownKind(head.r#type)
            });
        }
        let payload = serde_json::from_slice(value).map_err(malformed)?;
        Ok(Self {
            id: head.id,
            source: head.source,
            sequence: parse_sequence(&head.sequence)?,
            at: head.time.parse().map_err(Unreadable::Malformed)?,
            appended: Timestamp::ZERO,
            subject: parse_subject(&head.subject)?,
            cause: head.cause,
            payload,
        })
    }
}

/// Who says something, and about what, whatever its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Who says it.
    pub source: String,
    /// The source's own numbering.
    pub sequence: Sequence,
    /// What it is about.
    pub subject: Subject,
}

impl Spoken {
    /// Reads the envelope alone.
    pub fn read(value: &[u8]) -> Result<Self, Unreadable> {
        let head: Head = serde_json::from_slice(value).map_err(|error| Unreadable::Malformed(error.to_string()))?;
        let (sequence, subject) = (parse_sequence(&head.sequence)?, parse_subject(&head.subject)?);
        Ok(Self { source: head.source, sequence, subject })
    }
}

fn parse_sequence(text: &str) -> Result<Sequence, Unreadable> {
    text.parse().map_err(|error: BadSequence| Unreadable::Malformed(format!("sequence: {error}")))
}

fn parse_subject(text: &str) -> Result<Subject, Unreadable> {
    let malformed = |error: crate::ids::BadId| Unreadable::Malformed(format!("subject '{text}': {error}"));
    Ok(match text.split_once('/') {
        Some((cluster, instance)) => Subject::instance(
            ClusterId::parse(cluster).map_err(malformed)?,
            InstanceId::parse(instance).map_err(malformed)?,
        ),
        None => Subject::cluster(ClusterId::parse(text).map_err(malformed)?),
    })
}
