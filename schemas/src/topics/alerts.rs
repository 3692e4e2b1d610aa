//! Topic `alerts`: findings for people, at least once, with stable fingerprints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::event::{Payload, Subject};
use crate::ids::{EventId, InstanceId};
use crate::time::Timestamp;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Notice {
    /// The state of an alert.
    #[serde(rename = "millrace.alert.v1")]
    Alert(Alert),
}

impl Payload for Notice {
    const TOPIC: Topic = Topic::Alerts;
    const KINDS: &'static [&'static str] = &["millrace.alert.v1"];
    fn key(&self, subject: &Subject) -> String {
        let Self::Alert(alert) = self;
        format!("{}/{}", subject.cluster, alert.fingerprint)
    }
}

/// The state of an alert. Repeats have the same fingerprint and the same `starts_at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Names the alert over its life.
    pub fingerprint: EventId,
    /// The rule: `PrimaryDown`, `FailoverDone`.
    pub name: String,
    /// The instance, when it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// How bad.
    pub severity: Severity,
    /// Firing or resolved.
    pub state: AlertState,
    /// When it began: append time of the fact that did it.
    pub starts_at: Timestamp,
    /// In one sentence.
    pub summary: String,
    /// The page that says what to do.
    pub runbook: String,
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

/// Firing or resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AlertState {
    /// It holds.
    Firing,
    /// It no longer holds.
    Resolved,
}
