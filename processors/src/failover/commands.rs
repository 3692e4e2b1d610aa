//! Operators' words: create, enrol, change the mode, approve.

use millrace_schemas::event::Event;
use millrace_schemas::topics::actions::ActionKind;
use millrace_schemas::topics::journal::{Command, Fact};

use super::{State, alerts, plan};
use crate::fold::Out;

pub(super) fn fold(state: &mut State, command: &Command, event: &Event<Fact>, out: &mut Out<'_>) {
    let cluster = &event.subject.cluster;
    match command {
        Command::CreateCluster(spec) if state.may_be_declared() => {
            if spec.problems().is_empty() {
                state.forget_declaration();
                let reason = format!("{} asked for it", event.source);
                plan::act(state, cluster, reason, vec![event.id], ActionKind::CreateCluster(spec.clone()), out);
            }
        }
        Command::Enrol(spec) if state.spec.is_none() => {
            state.declare(spec, event.appended);
            state.primary = Some(spec.primary.clone());
            state.may_be_open.insert(spec.primary.clone());
        }
        // A cluster that was made is declared once: the same command again is a retry.
        Command::CreateCluster(_) | Command::Enrol(_) => {}
        Command::SetMode { mode } => {
            state.mode = Some(*mode);
            state.paused = None;
            alerts::resolve_all(state, cluster, "ClusterPaused", out);
        }
        Command::Approve { epoch } => {
            if state.proposed == Some(*epoch) {
                state.approved = Some(*epoch);
            }
        }
    }
}
