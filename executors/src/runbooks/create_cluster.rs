//! Make the instances, start them closed, let the replicas follow, then open the primary: with lossless semi-sync nothing is
//! acknowledged before a replica is there, so replicas come first.

use std::time::Duration;

use millrace_schemas::cluster::{ClusterSpec, Member};
use millrace_schemas::ids::Epoch;
use millrace_schemas::topics::actions::{CreateInstance, Step, StepResult};
use millrace_schemas::topics::journal::Outcome;

use super::{Script, UnderWay, Wanted, first_trouble};

/// 60 s: a template of a few hundred MB is copied even on a slow disk.
const COPY_WITHIN: Duration = Duration::from_mins(1);
/// 4 s: closing is given 1 s and killing is instant; the rest is the way there and back.
const FENCE_WITHIN: Duration = Duration::from_secs(4);
/// 30 s: an empty server starts in two; a cold disk needs more.
const START_WITHIN: Duration = Duration::from_secs(30);
/// 15 s: a replica attaches in one.
const FOLLOW_WITHIN: Duration = Duration::from_secs(15);
/// 10 s: opening is two statements and the first acknowledgement.
const OPEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn run(script: &mut Script<'_>, spec: &ClusterSpec) -> Result<Outcome, UnderWay> {
    let Some(primary) = spec.member(&spec.primary) else {
        return Ok(abandoned(format!("{} is no member", spec.primary)));
    };
    let all = |step: &dyn Fn(&Member) -> Step, within| {
        spec.members.iter().map(|member| Wanted::new(member, step(member), within)).collect::<Vec<_>>()
    };
    let cluster = script.action.cluster.clone();
    let create = |member: &Member| {
        let at = spec.members.iter().position(|other| other.instance == member.instance).unwrap_or(0);
        Step::CreateInstance(Box::new(CreateInstance {
            cluster: cluster.clone(),
            member: member.clone(),
            flavour: spec.flavour,
            template: spec.template.clone().unwrap_or_default(),
            server_id: at as u32 + 1,
            acknowledger: spec.acknowledgers.contains(&member.instance),
        }))
    };
    if let Some(outcome) = give_up(&script.stage(all(&create, COPY_WITHIN))?) {
        return Ok(outcome);
    }
    // An attempt before this one may have opened the primary.
    if script.action.epoch > Epoch(1)
        && let Some(outcome) = give_up(&script.stage(all(&|_| Step::Fence {}, FENCE_WITHIN))?)
    {
        return Ok(outcome);
    }
    if let Some(outcome) = give_up(&script.stage(all(&|_| Step::StartClosed { keep: None }, START_WITHIN))?) {
        return Ok(outcome);
    }
    let follow = |member: &'_ Member| member.instance != spec.primary;
    let replicas = spec.members.iter().filter(|member| follow(member));
    let follow =
        replicas.map(|member| Wanted::new(member, Step::Follow { source: primary.clone() }, FOLLOW_WITHIN)).collect();
    if let Some(outcome) = give_up(&script.stage(follow)?) {
        return Ok(outcome);
    }
    let open = Step::Open { acknowledgements: spec.acknowledgements };
    let opened = script.step(primary, open, OPEN_WITHIN)?;
    Ok(give_up(&[opened]).unwrap_or(Outcome::Done { primary: spec.primary.clone() }))
}

/// A new cluster has no clients yet: giving up loses nothing, and asking again goes on where it stopped.
fn give_up(results: &[&StepResult]) -> Option<Outcome> {
    first_trouble(results).map(abandoned)
}

fn abandoned(reason: String) -> Outcome {
    Outcome::Abandoned { reason, may_have_opened: false }
}
