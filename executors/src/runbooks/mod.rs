//! Runbooks: an action and the results so far in, the steps that follow out. Pure, so that any executor can go on where
//! another stopped. A runbook works in stages: all steps of a stage run at once, the next stage waits for all their results;
//! so the numbers of the steps do not depend on the order in which results come.

pub mod create_cluster;
pub mod fail_over;
pub mod rejoin;

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::cluster::Member;
use millrace_schemas::ids::{HostId, InstanceId};
use millrace_schemas::topics::actions::{Action, ActionKind, Report, Step, StepOutcome, StepResult};
use millrace_schemas::topics::journal::Outcome;

/// A step that a runbook wants done.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its number in the epoch.
    pub number: u32,
    /// Whose agent performs it.
    pub host: HostId,
    /// The instance.
    pub instance: InstanceId,
    /// What to do.
    pub step: Step,
    /// How long it may take.
    pub within: Duration,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// All steps up to the stage that is under way, in order of their numbers.
    Steps(Vec<Planned>),
    /// The action is over.
    End(Outcome),
}

/// Results by step number.
pub type Results = BTreeMap<u32, StepResult>;

/// Says what follows, given the results so far. The one list of runbooks.
pub fn next(action: &Action, done: &Results) -> Next {
    let mut script = Script { action, done, planned: Vec::new() };
    let ended = match &action.kind {
        ActionKind::CreateCluster(spec) => create_cluster::run(&mut script, spec),
        ActionKind::FailOver(fail_over) => fail_over::run(&mut script, fail_over),
        ActionKind::Rejoin(rejoin) => rejoin::run(&mut script, rejoin),
    };
    match ended {
        Ok(outcome) => Next::End(outcome),
        Err(UnderWay) => Next::Steps(script.planned),
    }
}

/// A stage waits for results.
#[derive(Debug)]
struct UnderWay;

/// Plans stage after stage and hands out their results.
struct Script<'a> {
    action: &'a Action,
    done: &'a Results,
    planned: Vec<Planned>,
}

/// A step of a stage before it has a number.
struct Wanted<'a> {
    member: &'a Member,
    step: Step,
    within: Duration,
}

impl<'a> Wanted<'a> {
    fn new(member: &'a Member, step: Step, within: Duration) -> Self {
        Self { member, step, within }
    }
}

impl<'a> Script<'a> {
    /// Runs a stage: its results in the order of `wanted`, once all are there.
    fn stage(&mut self, wanted: Vec<Wanted<'_>>) -> Result<Vec<&'a StepResult>, UnderWay> {
        let from = self.planned.len();
        for Wanted { member, step, within } in wanted {
            self.planned.push(Planned {
                number: self.action.first_step + self.planned.len() as u32,
                host: member.host.clone(),
                instance: member.instance.clone(),
                step,
                within,
            });
        }
        let done = self.done;
        self.planned[from..].iter().map(|planned| done.get(&planned.number).ok_or(UnderWay)).collect()
    }

    /// A stage of one step.
    fn step(&mut self, member: &Member, step: Step, within: Duration) -> Result<&'a StepResult, UnderWay> {
        Ok(self.stage(vec![Wanted::new(member, step, within)])?[0])
    }
}

/// The report of a step that was done.
fn report(result: &StepResult) -> Option<&Report> {
    match &result.outcome {
        StepOutcome::Done(report) => Some(report),
        _ => None,
    }
}

/// What went wrong with a step, in words.
fn trouble(result: &StepResult) -> Option<String> {
    let what = match &result.outcome {
        StepOutcome::Done(_) => return None,
        StepOutcome::Refused { reason } => format!("was refused: {reason}"),
        StepOutcome::Failed { error } => format!("failed: {error}"),
        StepOutcome::TimedOut {} => "timed out".to_owned(),
    };
    Some(format!("{} on {} {what}", result.step, result.instance))
}

/// The first trouble among results.
fn first_trouble(results: &[&StepResult]) -> Option<String> {
    results.iter().find_map(|result| trouble(result))
}

#[cfg(test)]
mod tests;
