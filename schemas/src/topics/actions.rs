//! Topic `actions`: what is to be done, and the step requests to the host that performs them.
//! An action is whole: a runbook needs it and the results so far, nothing else, to say which steps follow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::cluster::{ClusterSpec, Member, Process};
use crate::event::Payload;
use crate::flavour::Flavour;
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use crate::time::Timestamp;

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Order {
    /// What a decider wants done.
    #[serde(rename = "millrace.action.v1")]
    Action(Box<Action>),
    /// What an executor asks of an agent.
    #[serde(rename = "millrace.step.v1")]
    Step(Box<StepRequest>),
}

impl Payload for Order {
    const TOPIC: Topic = Topic::Actions;
    const KINDS: &'static [&'static str] = &["millrace.action.v1", "millrace.step.v1"];
    fn is_evidence(&self) -> bool {
        true
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Names it; the event that carries it has the same id.
    pub id: EventId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch it is done in.
    pub epoch: Epoch,
    /// Not to be started after this append time.
    pub deadline: Timestamp,
    /// In one sentence, for people.
    pub reason: String,
    /// Version of the rules that decided.
    pub policy: String,
    /// The facts it rests on.
    pub evidence: Vec<EventId>,
    /// The number of its first step: actions that share an epoch must not share step numbers.
    pub first_step: u32,
    /// What.
    pub kind: ActionKind,
}

/// The kinds of actions; each has a runbook of its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ActionKind {
    /// Make instances, set up replication, open the primary.
    CreateCluster(Box<ClusterSpec>),
    /// Give the cluster a primary.
    FailOver(Box<FailOver>),
    /// Bring a closed instance back as a replica.
    Rejoin(Box<Rejoin>),
}

impl ActionKind {
    /// The name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateCluster(_) => "create-cluster",
            Self::FailOver(_) => "fail-over",
            Self::Rejoin(_) => "rejoin",
        }
    }

    /// Only role changes mint epochs.
    pub fn changes_roles(&self) -> bool {
        !matches!(self, Self::Rejoin(_))
    }
}

/// Everything that the fail-over runbook needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailOver {
    /// The cluster as it is.
    pub spec: ClusterSpec,
    /// Every server that was open, or may have been opened by an unfinished epoch.
    pub old_primaries: Vec<InstanceId>,
    /// Members whose agents are silent: nothing is asked of them.
    pub silent: Vec<InstanceId>,
    /// Members that may become the primary.
    pub candidates: Vec<InstanceId>,
    /// Members that may not, each with the reason.
    pub excluded: Vec<Excluded>,
    /// Members whose server ended since they followed: what they had received and acknowledged may be gone, so they do not
    /// count for a quorum. What they hold counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarted: Vec<InstanceId>,
}

/// A member that may not be promoted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// The member.
    pub instance: InstanceId,
    /// Why.
    pub reason: String,
}

/// Everything that the rejoin runbook needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rejoin {
    /// The cluster as it is.
    pub spec: ClusterSpec,
    /// Who comes back.
    pub instance: InstanceId,
    /// Whom it follows.
    pub primary: InstanceId,
}

/// A step that an executor asks a host's agent for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepRequest {
    /// The action it belongs to.
    pub action: EventId,
    /// The epoch; agents refuse lower ones than they have promised.
    pub epoch: Epoch,
    /// Its place in the action; agents refuse lower ones than they have performed.
    pub number: u32,
    /// The agent that performs it.
    pub host: HostId,
    /// The instance it is about.
    pub instance: InstanceId,
    /// After this append time it counts as timed out.
    pub deadline: Timestamp,
    /// What to do.
    pub step: Step,
    /// What says that it is already done.
    pub until: Check,
}

impl StepRequest {
    /// The result of this step, whoever says it: its hands, or who waited for them in vain.
    pub fn result(&self, outcome: StepOutcome, took_us: u64) -> StepResult {
        StepResult {
            action: self.action,
            epoch: self.epoch,
            number: self.number,
            instance: self.instance.clone(),
            step: self.step.name().to_owned(),
            outcome,
            took_us,
        }
    }
}

/// What a host's hands can do to an instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Step {
    /// Make the data directory and the closed configuration.
    CreateInstance(Box<CreateInstance>),
    /// Start the process under its guard, closed.
    StartClosed {
        /// What the promoted server holds, when another was promoted since this one ran: what this one wrote beyond it was
        /// acknowledged by nobody, and is named, saved and cut off before the start.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<GtidSet>,
    },
    /// Drop what it followed and follow `source`.
    Follow {
        /// The new source.
        source: Member,
    },
    /// Switch on the source side of semi-sync and let clients write.
    Open {
        /// Acknowledgements that each write needs.
        acknowledgements: u32,
    },
    /// Make sure it cannot acknowledge a write: closed, or down and held down.
    Fence {},
    /// Stop the receiver and report what was received and executed.
    StopReceiver {},
    /// Apply everything in `apply`, end replication, open.
    Promote {
        /// What must be executed before it opens.
        apply: GtidSet,
        /// Acknowledgements that each write needs.
        acknowledgements: u32,
    },
    /// Make sure it is closed and follows nobody; report what it has executed.
    Quarantine {},
    /// Report what has been executed.
    ReadSets {},
    /// Name the transactions in `extra`: which tables they touch.
    NameExtra {
        /// Transactions that the primary does not have.
        extra: GtidSet,
    },
    /// On the primary: record the transactions of `extra` as done without doing them.
    Neutralise {
        /// Transactions that touch only Millrace's own schema.
        extra: GtidSet,
    },
    /// Wait until everything in `executed` is executed.
    CatchUp {
        /// What must be executed.
        executed: GtidSet,
    },
}

/// What a new instance is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateInstance {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where it is reached.
    pub member: Member,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// The template's name.
    pub template: String,
    /// `server_id`, unique in the cluster.
    pub server_id: u32,
    /// True when it may acknowledge writes.
    pub acknowledger: bool,
}

/// What says that a step is already done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The data directory is complete.
    Exists,
    /// The process runs and answers.
    Answers,
    /// It follows the source named in the step.
    Follows,
    /// Clients can write.
    IsOpen,
    /// It cannot acknowledge a write.
    IsFenced,
    /// The receiver is stopped.
    ReceiverStopped,
    /// It is closed and follows nobody.
    IsQuarantined,
    /// The sets named in the step are executed.
    Executed,
    /// Reading again changes nothing.
    Repeatable,
}

impl Step {
    /// The name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateInstance(_) => "create-instance",
            Self::StartClosed { .. } => "start-closed",
            Self::Follow { .. } => "follow",
            Self::Open { .. } => "open",
            Self::Fence {} => "fence",
            Self::StopReceiver {} => "stop-receiver",
            Self::Promote { .. } => "promote",
            Self::Quarantine {} => "quarantine",
            Self::ReadSets {} => "read-sets",
            Self::NameExtra { .. } => "name-extra",
            Self::Neutralise { .. } => "neutralise",
            Self::CatchUp { .. } => "catch-up",
        }
    }

    /// What says that it is already done.
    pub fn until(&self) -> Check {
        match self {
            Self::CreateInstance(_) => Check::Exists,
            Self::StartClosed { .. } => Check::Answers,
            Self::Follow { .. } => Check::Follows,
            Self::Open { .. } | Self::Promote { .. } => Check::IsOpen,
            Self::Fence {} => Check::IsFenced,
            Self::StopReceiver {} => Check::ReceiverStopped,
            Self::Quarantine {} => Check::IsQuarantined,
            Self::Neutralise { .. } | Self::CatchUp { .. } => Check::Executed,
            Self::ReadSets {} | Self::NameExtra { .. } => Check::Repeatable,
        }
    }

    /// True when it may let clients write: if it times out, its epoch is over.
    pub fn opens(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Promote { .. })
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StepResult {
    /// The action.
    pub action: EventId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The step.
    pub number: u32,
    /// The instance it was about.
    pub instance: InstanceId,
    /// The step's name.
    pub step: String,
    /// How.
    pub outcome: StepOutcome,
    /// How long the hands worked.
    pub took_us: u64,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Its check holds.
    Done(Box<Report>),
    /// The agent would not: a lower epoch or step number, or a precondition that does not hold.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was tried and did not work.
    Failed {
        /// The error.
        error: String,
    },
    /// Nothing was heard until the deadline; written by the holder of the claim.
    TimedOut {},
}

/// What the hands saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// True when the check held before anything was done.
    #[serde(default)]
    pub already: bool,
    /// Executed GTIDs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<GtidSet>,
    /// Executed and received GTIDs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<GtidSet>,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The transactions that were asked for, named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transactions: Vec<ExtraTransaction>,
    /// Further words for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A transaction that the primary does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExtraTransaction {
    /// Its GTID.
    pub gtid: String,
    /// `schema.table` of every table it touches; empty when that could not be read.
    pub tables: Vec<String>,
}

/// Millrace's own schema on every server that it created.
pub const OWN_SCHEMA: &str = "millrace";

impl ExtraTransaction {
    /// True when it is known to touch nothing but Millrace's own schema.
    pub fn is_own(&self) -> bool {
        let own = |table: &String| table.split_once('.').is_some_and(|(schema, _)| schema == OWN_SCHEMA);
        !self.tables.is_empty() && self.tables.iter().all(own)
    }
}
