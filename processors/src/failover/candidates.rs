//! Who may become the primary, and who may not and why. How far each one is, is read by the runbook after the fence: what
//! heartbeats say of GTID sets is history, and history decides nothing here.

use millrace_schemas::cluster::{ClusterSpec, Process};
use millrace_schemas::ids::InstanceId;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::Excluded;

use super::State;
use super::evidence::Seen;

/// The members, sorted into three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// May be promoted.
    pub allowed: Vec<InstanceId>,
    /// May not, with the reason.
    pub excluded: Vec<Excluded>,
    /// Their agents are silent: nothing is asked of them.
    pub silent: Vec<InstanceId>,
}

/// Sorts the members of a cluster.
pub fn of(state: &State, spec: &ClusterSpec, now: Timestamp) -> Candidates {
    let mut candidates = Candidates::default();
    for member in &spec.members {
        let instance = &member.instance;
        let seen = state.members.get(instance);
        if seen.is_none_or(|seen| !seen.known || seen.is_silent(now)) {
            candidates.silent.push(instance.clone());
        }
        match objection(state, spec, instance, seen, now) {
            None => candidates.allowed.push(instance.clone()),
            Some(reason) => candidates.excluded.push(Excluded { instance: instance.clone(), reason }),
        }
    }
    candidates
}

/// Why `instance` may not be promoted.
fn objection(
    state: &State,
    spec: &ClusterSpec,
    instance: &InstanceId,
    seen: Option<&Seen>,
    now: Timestamp,
) -> Option<String> {
    let Some(seen) = seen.filter(|seen| seen.known) else { return Some("nothing is known of it".to_owned()) };
    if seen.is_silent(now) {
        return Some(format!("its agent has been silent for {} s", now.since(seen.heard).as_secs()));
    }
    if let Some(quarantine) = state.quarantined.get(instance).filter(|quarantine| !quarantine.restarted) {
        return Some(format!("it is quarantined: {}", quarantine.reason));
    }
    if !spec.acknowledgers.contains(instance) {
        return Some("it is not among the acknowledgers, so it may lack acknowledged writes".to_owned());
    }
    match &seen.process {
        Process::Running { .. } => {}
        Process::Exited { .. } => return Some("its server is down".to_owned()),
        Process::Unknown => return Some("nobody knows whether its server runs".to_owned()),
    }
    match &seen.server {
        None if state.may_be_open.contains(instance) => None, // just promoted: the fence will tell
        None => Some(seen.server_error.clone().unwrap_or_else(|| "its server has not been asked yet".to_owned())),
        Some(server) if server.flavour != spec.flavour => Some(format!("it is {}", server.flavour)),
        Some(_) => None,
    }
}
