//! What is known of each member, folded from the facts that its agent tells. A late fact says nothing about now: it is kept
//! out of `server` and `process` unless it restates an exit, and only restarts the silence timer of its own sender.

use std::time::Duration;

use millrace_schemas::cluster::Process;
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{StepOutcome, StepResult};
use millrace_schemas::topics::journal::{Canary, Fact, ServerState};
use serde::{Deserialize, Serialize};

use super::State;

/// 3 s without a fresh fact: three missed heartbeats, more than a slow fsync or a pause of the scheduler explains.
pub const SILENT_AFTER: Duration = Duration::from_secs(3);

/// Why a member is out whose server ended.
pub(super) const RESTARTED: &str = "its server ended, so what it had received may be gone";

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its cluster, as the facts about it say.
    pub cluster: Option<ClusterId>,
    /// When a fresh fact of its agent was last appended, or silence was last forgiven.
    pub heard: Timestamp,
    /// False until a fresh fact was heard at all.
    pub known: bool,
    /// The process.
    pub process: Process,
    /// Since when the process is in this state.
    pub process_since: Timestamp,
    /// The fact that said so.
    pub process_fact: Option<EventId>,
    /// What the server said last.
    pub server: Option<ServerState>,
    /// Why it could not be asked.
    pub server_error: Option<String>,
    /// When it was last open or closed as expected of a primary.
    pub closed_since: Option<Timestamp>,
    /// Since when it does not follow the primary although it should.
    #[serde(default)]
    pub astray_since: Option<Timestamp>,
    /// We stopped its receiver, or may have, and have not let it follow since.
    #[serde(default)]
    pub halted: bool,
    /// Its server ended and was not let follow anybody since.
    #[serde(default)]
    pub detached: bool,
    /// The write path.
    pub canary: Canary,
    /// The highest epoch that its agent promised.
    pub promised: Epoch,
    /// The last fact about it.
    pub fact: Option<EventId>,
}

impl Seen {
    /// A member that has not said anything yet; its silence counts from `now`.
    pub fn unheard(now: Timestamp) -> Self {
        Self {
            cluster: None,
            heard: now,
            known: false,
            process: Process::Unknown,
            process_since: now,
            process_fact: None,
            server: None,
            server_error: None,
            closed_since: None,
            astray_since: None,
            halted: false,
            detached: false,
            canary: Canary::Off,
            promised: Epoch(0),
            fact: None,
        }
    }

    /// True when its agent has said nothing fresh for too long.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        now.since(self.heard) >= SILENT_AFTER
    }

    /// Silence before `now` means nothing.
    pub fn restart_silence(&mut self, now: Timestamp) {
        self.heard = self.heard.max(now);
        if self.closed_since.is_some() {
            self.closed_since = Some(now);
        }
        if self.astray_since.is_some() {
            self.astray_since = Some(now);
        }
    }

    /// It was just opened: heartbeats sampled before say nothing about it.
    pub fn promoted(&mut self, now: Timestamp) {
        self.closed_since = None;
        self.heard = self.heard.max(now);
        self.server = None;
    }

    /// True when `process` says that the server which ran has ended since.
    fn ends(&self, process: &Process) -> bool {
        matches!(self.process, Process::Running { .. })
            && !matches!(process, Process::Unknown)
            && self.process != *process
    }

    fn set_process(&mut self, process: &Process, event: &Event<Fact>) {
        if self.process != *process || self.process_fact.is_none() {
            self.process = process.clone();
            self.process_since = event.appended;
            self.process_fact = Some(event.id);
        }
    }
}

/// Folds a fact of an agent.
pub(super) fn fold(state: &mut State, event: &Event<Fact>) {
    let Some(instance) = &event.subject.instance else { return };
    let (host, boot_us) = match &event.payload {
        Fact::Heartbeat(heartbeat) => (&heartbeat.host, heartbeat.boot_us),
        Fact::ProcessChanged(change) => (&change.host, change.boot_us),
        Fact::Gap(gap) => (&gap.host, gap.to_boot_us),
        _ => return,
    };
    if !is_heard_from(state, instance, host) {
        return;
    }
    let now = event.appended;
    let late = state.lateness.entry(host.to_string()).or_default().is_late(now, boot_us);
    let astray = is_astray(state, instance, event);
    let seen = state.members.entry(instance.clone()).or_insert_with(|| Seen::unheard(now));
    seen.cluster = Some(event.subject.cluster.clone());
    seen.heard = now;
    seen.fact = Some(event.id);
    if late {
        return;
    }
    seen.known = true;
    let process = match &event.payload {
        Fact::ProcessChanged(change) => Some(&change.process),
        Fact::Heartbeat(heartbeat) => Some(&heartbeat.process),
        _ => None,
    };
    let ended = process.is_some_and(|process| seen.ends(process));
    seen.detached |= ended;
    match &event.payload {
        Fact::ProcessChanged(change) => seen.set_process(&change.process, event),
        Fact::Heartbeat(heartbeat) => {
            seen.set_process(&heartbeat.process, event);
            seen.promised = heartbeat.promised;
            seen.server.clone_from(&heartbeat.server);
            seen.server_error.clone_from(&heartbeat.server_error);
            seen.canary = heartbeat.canary.clone();
            let closed = heartbeat.server.as_ref().is_some_and(|server| !server.open);
            seen.closed_since = if closed { seen.closed_since.or(Some(now)) } else { None };
            seen.astray_since = if astray { seen.astray_since.or(Some(now)) } else { None };
        }
        _ => {}
    }
    if ended && state.primary.as_ref() != Some(instance) {
        // What it had received and not applied may be gone: it is absent until it holds what the primary has executed.
        state.quarantine(instance.clone(), RESTARTED, true, now);
    }
}

/// Whether `host` is where the member is declared to be: no other host's agent has seen it, whatever its key lets it say. A
/// member that nobody has declared yet can be anywhere.
fn is_heard_from(state: &State, instance: &InstanceId, host: &HostId) -> bool {
    let member = state.spec.as_ref().and_then(|spec| spec.member(instance));
    member.is_none_or(|member| member.host == *host)
}

/// True when the heartbeat shows a closed member that does not follow the settled primary.
fn is_astray(state: &State, instance: &InstanceId, event: &Event<Fact>) -> bool {
    let (Fact::Heartbeat(heartbeat), Some(spec), Some(primary)) = (&event.payload, &state.spec, &state.primary) else {
        return false;
    };
    let (Some(server), Some(source)) = (&heartbeat.server, spec.member(primary)) else { return false };
    if instance == primary || spec.member(instance).is_none() {
        return false;
    }
    let halted = state.members.get(instance).is_some_and(|seen| seen.halted);
    server.receiver.as_ref().is_none_or(|receiver| {
        receiver.source != source.endpoint() || (halted && !(receiver.receiving && receiver.applying))
    })
}

/// Folds the result of a step: whose receiver we stopped, and who was let follow again. A step that failed or timed out may
/// have been done.
pub(super) fn step_done(state: &mut State, result: &StepResult) {
    let Some(seen) = state.members.get_mut(&result.instance) else { return };
    match (result.step.as_str(), &result.outcome) {
        (_, StepOutcome::Refused { .. }) => {}
        ("stop-receiver", _) => seen.halted = true,
        ("follow", StepOutcome::Done(_)) => {
            seen.halted = false;
            seen.detached = false;
        }
        _ => {}
    }
}
