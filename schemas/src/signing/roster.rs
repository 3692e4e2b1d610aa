//! The roster: which key may speak as whom and about what. In: checked entries (read from a file elsewhere). Out: a verdict for
//! each record, which depends on the record and the roster alone, so that every reader and every replay gives the same.
//! An entry is never taken out: a key that is revoked is refused from an append time on, and what it said before stays said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KEY, KeyId, PublicKey, Refusal, SIGNATURE, Verified, is_due, may, signed_bytes};
use crate::event::Subject;
use crate::ids::{ClusterId, HostId, InstanceId};
use crate::record::Record;
use crate::time::Timestamp;

/// 24 characters of a key id that nobody knows are shown: an own one has 16.
const SHOWN_MAX: usize = 24;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An agent: speaks as `agent/HOST` of its hosts about its instances.
    Agent,
    /// Processors: decide, permit, route, tick as `ticker/NAME`, and enrol what their configuration names.
    Process,
    /// An executor: claims as `executor/NAME` and asks for steps.
    Execute,
    /// An operator: commands as `operator/NAME`.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Process, Self::Execute, Self::Operator];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Agent => "agent",
            Self::Process => "process",
            Self::Execute => "execute",
            Self::Operator => "operator",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.to_string() == text)
            .ok_or_else(|| format!("'{text}' is not a role of a key: use agent, process, execute or operator"))
    }
}

/// What a key may speak about: `CLUSTER/INSTANCE`, `CLUSTER/*`, or `*` for everything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    cluster: Option<ClusterId>,
    instance: Option<InstanceId>,
}

impl About {
    /// Everything.
    pub const ALL: Self = Self { cluster: None, instance: None };

    /// Whether it covers `subject`. What is said about a cluster as a whole is not covered by one of its instances.
    pub fn covers(&self, subject: &Subject) -> bool {
        let cluster = self.cluster.as_ref().is_none_or(|cluster| *cluster == subject.cluster);
        let instance = self.instance.as_ref().is_none_or(|instance| subject.instance.as_ref() == Some(instance));
        cluster && instance
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cluster, &self.instance) {
            (None, _) => f.pad("*"),
            (Some(cluster), None) => f.pad(&format!("{cluster}/*")),
            (Some(cluster), Some(instance)) => f.pad(&format!("{cluster}/{instance}")),
        }
    }
}

impl std::str::FromStr for About {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::ALL);
        }
        let (cluster, instance) = text.split_once('/').ok_or_else(|| {
            format!(
                "'{text}' is not CLUSTER/INSTANCE, CLUSTER/* or *, as in shop/db1: name what the key may speak about"
            )
        })?;
        let cluster = ClusterId::parse(cluster).map_err(|error| error.to_string())?;
        let instance = match instance {
            "*" => None,
            one => Some(InstanceId::parse(one).map_err(|error| error.to_string())?),
        };
        Ok(Self { cluster: Some(cluster), instance })
    }
}

/// A key, and what it may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub public: PublicKey,
    /// What it is for.
    pub roles: BTreeSet<Role>,
    /// Agents: the hosts that it speaks for.
    pub hosts: BTreeSet<HostId>,
    /// The others: the names that it speaks under, `executor/NAME`.
    pub names: BTreeSet<String>,
    /// What it may speak about.
    pub about: Vec<About>,
    /// Refused from this append time on.
    pub revoked: Option<Timestamp>,
}

impl Entry {
    /// What is wrong with it, all at once; empty when it can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.roles.is_empty() {
            problems.push("it has no role: use agent, process, execute or operator".to_owned());
        }
        if self.about.is_empty() {
            problems.push("it may speak about nothing: name CLUSTER/INSTANCE, CLUSTER/* or *".to_owned());
        }
        if self.roles.contains(&Role::Agent) == self.hosts.is_empty() {
            problems.push("an agent's key names the hosts that it speaks for, and no other key does".to_owned());
        }
        let named = self.roles.iter().any(|role| *role != Role::Agent);
        if named == self.names.is_empty() {
            problems.push(
                "a key of processors, executors and operators has the names that they speak under, and no other key does"
                    .to_owned(),
            );
        }
        problems
    }

    pub(super) fn covers(&self, subject: &Subject) -> bool {
        self.about.iter().any(|about| about.covers(subject))
    }
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    keys: BTreeMap<KeyId, Entry>,
    /// What was appended before is believed unsigned: nobody had a key then.
    pub since: Option<Timestamp>,
}

impl Roster {
    /// Takes an entry in; the error says why it cannot be.
    pub fn enrol(&mut self, entry: Entry) -> Result<KeyId, String> {
        let problems = entry.problems();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let id = entry.public.id();
        if self.keys.contains_key(&id) {
            return Err(format!("key {id} is in the roster already: a key has one entry"));
        }
        self.keys.insert(id.clone(), entry);
        Ok(id)
    }

    /// The entries, by id.
    pub fn entries(&self) -> impl Iterator<Item = (&KeyId, &Entry)> {
        self.keys.iter()
    }

    /// The entry of a key.
    pub fn entry(&self, id: &KeyId) -> Option<&Entry> {
        self.keys.get(id)
    }

    /// Whether `record` is to be believed: signed by a key that may say this, here and now. Records of topics on which no
    /// signature is due are.
    pub fn judge(&self, record: &Record) -> Result<(), Refusal> {
        self.judge_by(record, PublicKey::verifies)
    }

    /// The same; a signature that is in `verified` is not computed again.
    pub fn judge_again(&self, record: &Record, verified: &mut Verified) -> Result<(), Refusal> {
        self.judge_by(record, |public, bytes, signature| verified.verifies(public, bytes, signature))
    }

    fn judge_by(&self, record: &Record, verifies: impl FnOnce(&PublicKey, &[u8], &str) -> bool) -> Result<(), Refusal> {
        if !is_due(record.topic) || self.since.is_some_and(|since| record.appended < since) {
            return Ok(());
        }
        let (Some(signature), Some(named)) = (record.headers.get(SIGNATURE), record.headers.get(KEY)) else {
            return Err(Refusal::Unsigned);
        };
        let Some((id, entry)) = self.keys.get_key_value(named.as_str()) else {
            let shown = named.chars().filter(char::is_ascii_graphic).take(SHOWN_MAX).collect();
            return Err(Refusal::UnknownKey(shown));
        };
        let bytes = signed_bytes(record.topic, &record.key, &record.headers, record.value.as_deref());
        if !verifies(&entry.public, &bytes, signature) {
            return Err(Refusal::Forged(id.to_string()));
        }
        if let Some(at) = entry.revoked.filter(|at| record.appended >= *at) {
            return Err(Refusal::Revoked { key: id.to_string(), at });
        }
        may::say(id, entry, record)
    }
}
