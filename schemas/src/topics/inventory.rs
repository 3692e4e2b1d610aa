//! Topic `inventory`: what there is: hosts and instances, kept by `kind/entity`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use super::queries::Source;
use crate::event::{Payload, Subject};
use crate::flavour::Flavour;
use crate::ids::{HostId, InstanceId};

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Item {
    /// A host with an agent.
    #[serde(rename = "millrace.host.v1")]
    Host(Host),
    /// A server instance.
    #[serde(rename = "millrace.instance.v1")]
    Instance(Instance),
}

impl Payload for Item {
    const TOPIC: Topic = Topic::Inventory;
    const KINDS: &'static [&'static str] = &["millrace.host.v1", "millrace.instance.v1"];
    fn key(&self, _: &Subject) -> String {
        match self {
            Self::Host(host) => format!("host/{}", host.host),
            Self::Instance(instance) => format!("instance/{}", instance.instance),
        }
    }
}

/// A host with an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Its id.
    pub host: HostId,
    /// Version of the agent.
    pub agent_version: String,
    /// Cores.
    pub cores: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The kernel.
    pub kernel: String,
}

/// A server instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Instance {
    /// Its id.
    pub instance: InstanceId,
    /// Where it runs.
    pub host: HostId,
    /// `ADDRESS:PORT`.
    pub endpoint: String,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// The version text.
    pub version: String,
    /// True when Millrace created it and its guard is its parent.
    pub guarded: bool,
    /// How its statements are counted; absent in what older agents told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counting: Option<Counting>,
}

/// How the statements of an instance are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counting {
    /// What counts them now.
    pub source: Source,
    /// How many in a hundred of the statements of ten seconds the server counted and no packet showed: they came over a Unix socket, or
    /// on an interface that is not captured. Absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_percent: Option<u8>,
}
