//! What a cluster is: as an operator declares it, its members, how much may be done to it, and the state of a member's process.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::flavour::Flavour;
use crate::ids::{HostId, InstanceId};

/// How much Millrace may do to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Change nothing, say what would be done.
    Observe,
    /// Propose, and act once an operator approves.
    Approve,
    /// Act.
    Auto,
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "observe" => Ok(Self::Observe),
            "approve" => Ok(Self::Approve),
            "auto" => Ok(Self::Auto),
            other => Err(format!("'{other}' is not a mode: use observe, approve or auto")),
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Approve => "approve",
            Self::Auto => "auto",
        })
    }
}

/// An instance, where it runs, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The instance.
    pub instance: InstanceId,
    /// The host whose agent performs its steps.
    pub host: HostId,
    /// The address that clients and replicas use.
    pub address: String,
    /// The port.
    pub port: u16,
}

impl std::str::FromStr for Member {
    type Err = String;

    /// `INSTANCE@HOST:ADDRESS:PORT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("'{text}' is not INSTANCE@HOST:ADDRESS:PORT, as in db1@h1:10.0.0.5:3306");
        let (instance, rest) = text.split_once('@').ok_or_else(form)?;
        let (host, rest) = rest.split_once(':').ok_or_else(form)?;
        let (address, port) = rest.rsplit_once(':').ok_or_else(form)?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(form)?;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        if address.is_empty() {
            return Err(form());
        }
        Ok(Self {
            instance: InstanceId::parse(instance).map_err(|error| error.to_string())?,
            host: HostId::parse(host).map_err(|error| error.to_string())?,
            address: address.to_owned(),
            port,
        })
    }
}

impl Member {
    /// `ADDRESS:PORT`.
    pub fn endpoint(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }
}

/// A cluster as an operator declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterSpec {
    /// For people; may change and repeat.
    pub name: String,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// All instances.
    pub members: Vec<Member>,
    /// The one that is open first.
    pub primary: InstanceId,
    /// A: the replicas and the primary that may acknowledge each other's writes.
    pub acknowledgers: Vec<InstanceId>,
    /// k: acknowledgements that each write needs.
    pub acknowledgements: u32,
    /// How much Millrace may do.
    pub mode: Mode,
    /// The template that new data directories are copied from, by its name in the agents' template folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

impl ClusterSpec {
    /// The member with this id.
    pub fn member(&self, instance: &InstanceId) -> Option<&Member> {
        self.members.iter().find(|member| member.instance == *instance)
    }

    /// Those of A that can acknowledge writes of `primary`: everyone else in it.
    pub fn acknowledgers_of(&self, primary: &InstanceId) -> impl Iterator<Item = &InstanceId> {
        self.acknowledgers.iter().filter(move |instance| *instance != primary)
    }

    /// Q = n - k + 1: any so many of the n acknowledgers of `primary` meet every acknowledged write.
    pub fn quorum(&self, primary: &InstanceId) -> usize {
        let n = self.acknowledgers_of(primary).count();
        (n + 1).saturating_sub(self.acknowledgements as usize)
    }

    /// What is wrong with it, all at once; empty when it can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.members.is_empty() {
            problems.push("a cluster needs at least one member".to_owned());
        }
        for (at, member) in self.members.iter().enumerate() {
            let before = &self.members[..at];
            if before.iter().any(|other| other.instance == member.instance) {
                problems.push(format!("instance {} is named twice", member.instance));
            }
            if before.iter().any(|other| other.endpoint() == member.endpoint()) {
                problems.push(format!("{} is used by two instances", member.endpoint()));
            }
        }
        if self.member(&self.primary).is_none() {
            problems.push(format!("the primary {} is not a member", self.primary));
        }
        for instance in &self.acknowledgers {
            if self.member(instance).is_none() {
                problems.push(format!("the acknowledger {instance} is not a member"));
            }
        }
        let n = self.acknowledgers_of(&self.primary).count();
        let k = self.acknowledgements as usize;
        if k > n {
            problems.push(format!("{k} acknowledgements are asked for, but only {n} replicas may acknowledge"));
        }
        if self.flavour == Flavour::MariaDb && k > 1 {
            problems.push("MariaDB cannot wait for more than one acknowledgement".to_owned());
        }
        problems
    }
}

/// The state of a server process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Process {
    /// It runs.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It ended.
    Exited {
        /// The exit code, where the parent learned it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// True when somebody asked for the shutdown.
        requested: bool,
        /// True while its guard holds it down.
        held: bool,
    },
    /// Nobody knows: no guard, no pid, or the guard does not answer.
    Unknown,
}
