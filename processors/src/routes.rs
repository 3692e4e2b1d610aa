//! Journal in, routes out: who may be written to. A route without a primary is published the moment a role change is
//! claimed, and one with the new primary the moment its opening is reported: clients need not wait for the rest.

use millrace_schemas::cluster::ClusterSpec;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, Epoch, EventId, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::actions::{ActionKind, StepOutcome};
use millrace_schemas::topics::journal::{Command, Fact, Outcome};
use millrace_schemas::topics::routes::{Route, Routing};
use serde::{Deserialize, Serialize};

use crate::fold::{Out, Processor};

/// The processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Routes;

/// What is known of one cluster's routing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    spec: Option<ClusterSpec>,
    epoch: Epoch,
    /// The role change of that epoch.
    action: Option<EventId>,
    primary: Option<InstanceId>,
}

impl Processor for Routes {
    const NAME: &'static str = "routes";
    const VERSION: u32 = 1;
    type In = Fact;
    type State = State;

    fn step(&self, state: &mut State, event: &Event<Fact>, out: &mut Out<'_>) {
        let before = (state.epoch, state.primary.clone());
        match &event.payload {
            Fact::Command(Command::Enrol(spec)) if state.spec.is_none() => {
                state.spec = Some((**spec).clone());
                state.primary = Some(spec.primary.clone());
            }
            Fact::Claimed(claimed) if claimed.action.kind.changes_roles() && claimed.action.epoch > state.epoch => {
                state.epoch = claimed.action.epoch;
                state.action = Some(claimed.action.id);
                state.primary = None;
                match &claimed.action.kind {
                    ActionKind::CreateCluster(spec) => state.spec = Some((**spec).clone()),
                    ActionKind::FailOver(fail_over) => state.spec = Some(fail_over.spec.clone()),
                    ActionKind::Rejoin(_) => {}
                }
            }
            Fact::StepDone(result)
                if Some(result.action) == state.action
                    && matches!(result.step.as_str(), "open" | "promote")
                    && matches!(result.outcome, StepOutcome::Done(_)) =>
            {
                state.primary = Some(result.instance.clone());
            }
            Fact::Ended(ended) if Some(ended.action) == state.action => {
                if let Outcome::Done { primary } = &ended.outcome {
                    state.primary = Some(primary.clone());
                }
            }
            _ => return,
        }
        if before != (state.epoch, state.primary.clone()) {
            publish(state, &event.subject.cluster, event.id, out);
        }
    }

    fn wake(&self, _: &State) -> Option<Timestamp> {
        None
    }

    fn tick(&self, _: &mut State, _: Timestamp, _: &mut Out<'_>) {}

    fn resume(&self, _: &mut State, _: Timestamp) {}

    fn unknown_evidence(&self, _: &mut State, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}

fn publish(state: &State, cluster: &ClusterId, cause: EventId, out: &mut Out<'_>) {
    let Some(spec) = &state.spec else { return };
    let is_primary = |instance: &InstanceId| state.primary.as_ref() == Some(instance);
    let route = Route {
        name: spec.name.clone(),
        epoch: state.epoch,
        primary: state.primary.as_ref().and_then(|primary| spec.member(primary)).cloned(),
        replicas: spec.members.iter().filter(|member| !is_primary(&member.instance)).cloned().collect(),
    };
    out.emit(Subject::cluster(cluster.clone()), Some(cause), Routing::Route(route));
}
