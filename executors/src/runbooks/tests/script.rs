//! Plays a runbook against scripted answers and writes down what it did.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millrace_schemas::cluster::Process;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::{Epoch, InstanceId};
use millrace_schemas::topics::actions::{
    Action, ActionKind, ExtraTransaction, FailOver, Rejoin, Report, Step, StepOutcome, StepResult,
};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::Outcome;

use crate::runbooks::{Next, Planned, Results, next};

pub(super) const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
/// More stages than any runbook has: one that goes on for ever is caught.
const STAGES_MAX: usize = 20;

pub(super) fn id(number: usize) -> InstanceId {
    InstanceId::parse(format!("db{number}")).expect("a legal id")
}

pub(super) fn set(numbers: &str) -> GtidSet {
    GtidSet::parse(Flavour::MySql, &format!("{UUID}:{numbers}")).expect("a legal set")
}

pub(super) fn done(report: Report) -> StepOutcome {
    StepOutcome::Done(Box::new(report))
}

pub(super) fn executed(numbers: &str) -> StepOutcome {
    done(Report { executed: Some(set(numbers)), ..Report::default() })
}

pub(super) fn received(numbers: &str) -> StepOutcome {
    done(Report { received: Some(set(numbers)), ..Report::default() })
}

pub(super) fn held_down() -> StepOutcome {
    let process = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
    done(Report { process: Some(process), ..Report::default() })
}

pub(super) fn closed(numbers: &str) -> StepOutcome {
    let process = Some(Process::Running { pid: 7 });
    done(Report { process, executed: Some(set(numbers)), ..Report::default() })
}

pub(super) fn failed() -> StepOutcome {
    StepOutcome::Failed { error: "it broke".to_owned() }
}

pub(super) fn action(kind: ActionKind) -> Action {
    Action { kind, ..examples::action() }
}

/// `db1` was the primary of a MySQL cluster; `db2` and `db3` may follow it.
pub(super) fn fail_over() -> FailOver {
    let mut spec = examples::spec();
    spec.flavour = Flavour::MySql;
    FailOver {
        spec,
        old_primaries: vec![id(1)],
        silent: vec![],
        candidates: vec![id(2), id(3)],
        excluded: vec![],
        restarted: vec![],
    }
}

pub(super) fn create() -> Action {
    Action { epoch: Epoch(1), ..action(ActionKind::CreateCluster(Box::new(fail_over().spec))) }
}

pub(super) fn rejoin() -> Action {
    let rejoin = Rejoin { spec: fail_over().spec, instance: id(1), primary: id(2) };
    Action { first_step: 1_000, ..action(ActionKind::Rejoin(Box::new(rejoin))) }
}

/// How it goes when nothing goes wrong: `db2` has everything, `db3` lacks two, `db1` has two that nobody acknowledged.
pub(super) fn well(planned: &Planned) -> StepOutcome {
    match &planned.step {
        Step::Fence {} => held_down(),
        Step::StopReceiver {} if planned.instance == id(2) => received("1-10"),
        Step::StopReceiver {} => received("1-8"),
        Step::Quarantine {} => executed("1-12"),
        Step::ReadSets {} => executed("1-10:13-20"),
        Step::NameExtra { .. } => {
            let own = |number: u32| ExtraTransaction {
                gtid: format!("{UUID}:{number}"),
                tables: vec!["millrace.heartbeat".to_owned()],
            };
            done(Report { transactions: vec![own(11), own(12)], ..Report::default() })
        }
        _ => done(Report::default()),
    }
}

/// What came of a play.
pub(super) struct Played {
    pub(super) steps: Vec<Planned>,
    pub(super) outcome: Outcome,
    pub(super) transcript: String,
}

impl Played {
    /// The steps of this name, by instance.
    pub(super) fn on(&self, name: &str) -> Vec<InstanceId> {
        self.steps.iter().filter(|one| one.step.name() == name).map(|one| one.instance.clone()).collect()
    }
}

/// Plays `action` to its end.
pub(super) fn play(action: &Action, answer: impl Fn(&Planned) -> StepOutcome) -> Played {
    let mut results = Results::new();
    let mut steps: BTreeMap<u32, Planned> = BTreeMap::new();
    let mut transcript = String::new();
    for _ in 0..STAGES_MAX {
        let planned = match next(action, &results) {
            Next::Steps(planned) => planned,
            Next::End(outcome) => {
                let _ = writeln!(transcript, "    => {}", sentence(&outcome));
                return Played { steps: steps.into_values().collect(), outcome, transcript };
            }
        };
        for one in planned.into_iter().filter(|one| !results.contains_key(&one.number)).collect::<Vec<_>>() {
            let outcome = answer(&one);
            let within = one.within.as_secs();
            let _ = writeln!(
                transcript,
                "    {} {} {} within {within} s -> {}",
                one.number,
                one.instance,
                say(&one.step),
                told(&outcome)
            );
            results.insert(one.number, result(action, &one, outcome));
            assert!(steps.insert(one.number, one).is_none(), "a number is given once");
        }
    }
    panic!("the runbook does not end:\n{transcript}");
}

pub(super) fn result(action: &Action, planned: &Planned, outcome: StepOutcome) -> StepResult {
    StepResult {
        action: action.id,
        epoch: action.epoch,
        number: planned.number,
        instance: planned.instance.clone(),
        step: planned.step.name().to_owned(),
        outcome,
        took_us: 1_000,
    }
}

fn say(step: &Step) -> String {
    let short = |set: &GtidSet| set.to_string().replace(UUID, "U");
    match step {
        Step::Follow { source } => format!("follow {}", source.instance),
        Step::Promote { apply, acknowledgements } => format!("promote (apply {}, k={acknowledgements})", short(apply)),
        Step::Open { acknowledgements } => format!("open (k={acknowledgements})"),
        Step::NameExtra { extra } | Step::Neutralise { extra } => format!("{} {}", step.name(), short(extra)),
        Step::CatchUp { executed } => format!("catch-up to {}", short(executed)),
        Step::StartClosed { keep: Some(keep) } => format!("start-closed (keep {})", short(keep)),
        other => other.name().to_owned(),
    }
}

fn told(outcome: &StepOutcome) -> String {
    match outcome {
        StepOutcome::Done(report) => {
            let sets = [("executed", &report.executed), ("received", &report.received)];
            let sets = sets
                .iter()
                .filter_map(|(name, set)| Some(format!(", {name} {}", set.as_ref()?.to_string().replace(UUID, "U"))));
            let held = if matches!(report.process, Some(Process::Exited { .. })) { ", down" } else { "" };
            format!("done{held}{}", sets.collect::<String>())
        }
        StepOutcome::Refused { reason } => format!("refused: {reason}"),
        StepOutcome::Failed { error } => format!("failed: {error}"),
        StepOutcome::TimedOut {} => "timed out".to_owned(),
    }
}

fn sentence(outcome: &Outcome) -> String {
    let text = match outcome {
        Outcome::Done { primary } => format!("done, primary {primary}"),
        Outcome::Refused { reason, unblock } => format!("refused: {reason}; {unblock} would unblock it"),
        Outcome::Abandoned { reason, may_have_opened } => {
            format!("abandoned: {reason}; may have opened: {may_have_opened}")
        }
    };
    text.replace(UUID, "U")
}
