//! Topic `journal`: every fact that a decision about a cluster can rest on, in one order per cluster.
//! Deciders and the life of alerts read nothing else. Facts are past tense or nouns; nobody is told what to do here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use super::actions::{Action, StepResult};
use super::alerts::{Finding, Unusual, UnusualDay, Word};
use crate::cluster::Process;
use crate::cluster::{ClusterSpec, Mode};
use crate::event::Payload;
use crate::flavour::Flavour;
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use crate::time::Timestamp;

/// A fact about a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Fact {
    /// One per instance and second: what the agent sees of it now.
    #[serde(rename = "millrace.heartbeat.v1")]
    Heartbeat(Box<Heartbeat>),
    /// The server process started, exited, or is held: told at once, between heartbeats.
    #[serde(rename = "millrace.process-changed.v1")]
    ProcessChanged(ProcessChanged),
    /// The agent could not report in this span; nothing is known about it.
    #[serde(rename = "millrace.gap.v1")]
    Gap(Gap),
    /// An operator's word.
    #[serde(rename = "millrace.command.v1")]
    Command(Command),
    /// An executor took an action. The first claim of an epoch in the log is the one that holds.
    #[serde(rename = "millrace.claimed.v1")]
    Claimed(Claimed),
    /// The executor that holds the claim is alive.
    #[serde(rename = "millrace.renewed.v1")]
    Renewed(Renewed),
    /// A step ended, or its deadline passed. The first result in the log counts.
    #[serde(rename = "millrace.step-done.v1")]
    StepDone(Box<StepResult>),
    /// An action ended.
    #[serde(rename = "millrace.ended.v1")]
    Ended(Ended),
    /// The decider of a cluster wants to make a failover that no operator approved. Appended under [`FLEET`].
    #[serde(rename = "millrace.permit-asked.v1")]
    PermitAsked(PermitAsked),
    /// The answer of the decider of [`FLEET`]. Appended under the cluster that asked.
    #[serde(rename = "millrace.permit-answered.v1")]
    PermitAnswered(PermitAnswered),
    /// A permit, or the wish for one, is given back: its cluster kept its primary. Appended under [`FLEET`].
    #[serde(rename = "millrace.permit-returned.v1")]
    PermitReturned(PermitReturned),
    /// What an instance's load was in a window, from the window processor.
    #[serde(rename = "millrace.load.v1")]
    Load(Load),
    /// Something is not as it should be, or is so again, from the processors that judge.
    #[serde(rename = "millrace.finding.v1")]
    Finding(Box<Finding>),
    /// Something is unusual by the windows, from the processor that judges those; not a finding yet.
    #[serde(rename = "millrace.unusual.v1")]
    Unusual(Box<Unusual>),
    /// What was unusual on a cluster in a day. Appended under [`FLEET`](crate::ids::FLEET).
    #[serde(rename = "millrace.unusual-day.v1")]
    UnusualDay(Box<UnusualDay>),
    /// An operator's word about alerts.
    #[serde(rename = "millrace.alert-word.v1")]
    AlertWord(Word),
    /// Nothing but time: fills silences so that timers run.
    #[serde(rename = "millrace.tick.v1")]
    Tick {},
}

impl Payload for Fact {
    const TOPIC: Topic = Topic::Journal;
    const KINDS: &'static [&'static str] = &[
        "millrace.heartbeat.v1",
        "millrace.process-changed.v1",
        "millrace.gap.v1",
        "millrace.command.v1",
        "millrace.claimed.v1",
        "millrace.renewed.v1",
        "millrace.step-done.v1",
        "millrace.ended.v1",
        "millrace.permit-asked.v1",
        "millrace.permit-answered.v1",
        "millrace.permit-returned.v1",
        "millrace.load.v1",
        "millrace.finding.v1",
        "millrace.unusual.v1",
        "millrace.unusual-day.v1",
        "millrace.alert-word.v1",
        "millrace.tick.v1",
    ];

    fn is_evidence(&self) -> bool {
        let says_nothing_new = matches!(self, Self::Load(_) | Self::Tick {} | Self::Renewed(_));
        let is_of_alerts =
            matches!(self, Self::Finding(_) | Self::Unusual(_) | Self::UnusualDay(_) | Self::AlertWord(_));
        !says_nothing_new && !is_of_alerts
    }
}

/// What an agent sees of one instance, each second. Restates process, hold and promise, so that nothing that happened
/// while the bus was away is lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The host whose agent speaks.
    pub host: HostId,
    /// `CLOCK_BOOTTIME` of the host when this was sampled: lateness is judged by it, wall clocks play no part.
    pub boot_us: u64,
    /// The server process.
    pub process: Process,
    /// The highest epoch that the agent has promised for this instance.
    pub promised: Epoch,
    /// What the server says of itself; absent when it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerState>,
    /// Why `server` is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_error: Option<String>,
    /// The write path.
    pub canary: Canary,
}

/// A change of a server process, told at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessChanged {
    /// The host whose agent speaks.
    pub host: HostId,
    /// `CLOCK_BOOTTIME` when the change was told.
    pub boot_us: u64,
    /// The state now.
    pub process: Process,
    /// `CLOCK_BOOTTIME` when whoever waits for the process saw it end: how late the agent is, is part of what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exited_boot_us: Option<u64>,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerState {
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// The version text.
    pub version: String,
    /// `@@server_id`.
    pub server_id: u32,
    /// True when ordinary users can write.
    pub open: bool,
    /// Executed GTIDs; absent when longer than a heartbeat may carry (400 bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<GtidSet>,
    /// The replication channel, when there is one; of several the first, which is that of the cluster's primary where Millrace made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Receiver>,
    /// Another channel that has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_channel: Option<StoppedChannel>,
    /// Semi-synchronous replication.
    pub semi_sync: SemiSync,
    /// Statements per second since the last heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries_per_second: Option<f64>,
    /// Threads running now.
    pub threads_running: u32,
    /// Connections now.
    pub connections: u32,
    /// Host load: one-minute average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_load: Option<f64>,
}

impl ServerState {
    /// Whether all its channels run; none when it is no replica.
    pub fn replicates(&self) -> Option<bool> {
        self.receiver.as_ref().map(|receiver| receiver.runs() && self.stopped_channel.is_none())
    }
}

/// A channel of a replica of several sources that has stopped: its receiver or its applier does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoppedChannel {
    /// Its name.
    pub channel: String,
    /// `HOST:PORT` of its source.
    pub source: String,
}

impl Receiver {
    /// Both of its threads run.
    pub fn runs(&self) -> bool {
        self.receiving && self.applying
    }
}

/// The receiving side of a replica.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receiver {
    /// The name of the channel, where it has one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// `HOST:PORT` of the source.
    pub source: String,
    /// The receiver (I/O thread) runs and is connected.
    pub receiving: bool,
    /// The applier (SQL thread) runs.
    pub applying: bool,
    /// Last error of receiver or applier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Age of the newest heartbeat row of the source, in microseconds: the true delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_us: Option<u64>,
}

/// Both sides of semi-synchronous replication, as the server reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SemiSync {
    /// The source side is switched on.
    pub source_enabled: bool,
    /// The source side waits for acknowledgements now (false: it fell back to asynchronous).
    pub source_active: bool,
    /// Lossless: `AFTER_SYNC`, unlimited time-out, waits without replicas.
    pub lossless: bool,
    /// Replicas that acknowledge.
    pub acknowledgers: u32,
    /// The replica side is switched on.
    pub replica_enabled: bool,
}

/// The result of the last canary write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Canary {
    /// Not tried: the server is not open, or is only observed.
    Off,
    /// It was acknowledged.
    Written {
        /// How long it took.
        took_us: u64,
    },
    /// It hangs.
    Waiting {
        /// Since how long.
        since_us: u64,
    },
    /// It failed.
    Failed {
        /// The server's words.
        error: String,
    },
}

/// A span in which an agent could not report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The host whose agent speaks.
    pub host: HostId,
    /// Since when, by the agent's `CLOCK_BOOTTIME`.
    pub from_boot_us: u64,
    /// Until when.
    pub to_boot_us: u64,
}

/// An operator's word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Make a new cluster.
    CreateCluster(Box<ClusterSpec>),
    /// Watch servers that Millrace did not create.
    Enrol(Box<ClusterSpec>),
    /// Change how much Millrace may do.
    SetMode {
        /// The new mode.
        mode: Mode,
    },
    /// Carry out what waits for approval.
    Approve {
        /// The epoch that was proposed.
        epoch: Epoch,
    },
}

/// An executor took an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Claimed {
    /// The action, whole: deciders of any version adopt it from here.
    pub action: Box<Action>,
    /// Who took it.
    pub executor: String,
}

/// The holder of a claim is alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renewed {
    /// The action.
    pub action: EventId,
    /// Who holds it.
    pub executor: String,
}

/// An action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// The action.
    pub action: EventId,
    /// Its epoch.
    pub epoch: Epoch,
    /// How.
    pub outcome: Outcome,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was done.
    Done {
        /// The primary after it.
        primary: InstanceId,
    },
    /// Not done, for safety; nothing was opened.
    Refused {
        /// Why.
        reason: String,
        /// What would let it go on.
        unblock: String,
    },
    /// Given up on the way.
    Abandoned {
        /// Why.
        reason: String,
        /// True when a server may have been opened by it.
        may_have_opened: bool,
    },
}

/// A cluster asks for an automatic failover. The same permit asked for again is one permit: a repeated question, or the next
/// attempt at the same change of primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermitAsked {
    /// Names the permit, from the first question to the end of what it is for.
    pub permit: EventId,
    /// Who asks.
    pub cluster: ClusterId,
    /// The epoch that is to be minted.
    pub epoch: Epoch,
    /// Why, in one sentence.
    pub reason: String,
}

/// What the fleet says to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermitAnswered {
    /// The permit.
    pub permit: EventId,
    /// The epoch that it was asked for.
    pub epoch: Epoch,
    /// Whether the failover may be made.
    pub granted: bool,
    /// Why, in one sentence.
    pub reason: String,
    /// The answer holds until then: a grant that was not used is void, after a refusal asking again can help.
    pub until: Timestamp,
}

/// A permit that is not wanted any more, and that changed no primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermitReturned {
    /// The permit.
    pub permit: EventId,
    /// Who gives it back.
    pub cluster: ClusterId,
    /// Why, in one sentence.
    pub reason: String,
}

/// The load of an instance in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Start of the window.
    pub start: Timestamp,
    /// Its width in seconds.
    pub width_seconds: u32,
    /// Statements.
    pub statements: u64,
    /// Statements that ended in an error.
    pub errors: u64,
    /// Median response time.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
}

/// The cluster that ticks carry: they are about a partition, not about a cluster.
pub fn tick_cluster() -> ClusterId {
    ClusterId::parse("tick").expect("a legal id")
}
