//! Give the cluster a primary: fence every server that may be open, read what the acknowledgers hold, open the most advanced.
//! Rules 3 to 5 of the design stand here: without the fence and the quorum of data nothing is opened, and the refusal names
//! who would unblock it. Receivers stop in the same stage as the fence: a set that is read after its own receiver stopped can
//! no longer grow by an acknowledged write, so fence and data are complete together.

use std::time::Duration;

use millrace_schemas::cluster::{Member, Process};
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::InstanceId;
use millrace_schemas::topics::actions::{FailOver, Step, StepResult};
use millrace_schemas::topics::journal::Outcome;

use super::{Script, UnderWay, Wanted, report, trouble};

/// 4 s: closing is given 1 s and killing is instant; the rest is the way there and back.
const FENCE_WITHIN: Duration = Duration::from_secs(4);
/// 4 s: stopping a receiver takes milliseconds, up to `replica_net_timeout` (2 s) when its source hangs.
const STOP_WITHIN: Duration = Duration::from_secs(4);
/// 30 s: the relay log must be applied first; MariaDB applies about 630 transactions a second.
const PROMOTE_WITHIN: Duration = Duration::from_secs(30);
/// 30 s: a replica applies its relay log before it turns to the new source.
const FOLLOW_WITHIN: Duration = Duration::from_secs(30);
/// 30 s: as after any crash, with recovery.
const START_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(script: &mut Script<'_>, action: &FailOver) -> Result<Outcome, UnderWay> {
    let asked = |instance: &InstanceId| !action.silent.contains(instance);
    let is_old = |member: &Member| action.old_primaries.contains(&member.instance);
    let members = || action.spec.members.iter().filter(|member| asked(&member.instance));
    let old: Vec<&Member> = members().filter(|member| is_old(member)).collect();
    let others: Vec<&Member> = members().filter(|member| !is_old(member)).collect();

    let mut wanted: Vec<Wanted<'_>> = old.iter().map(|one| Wanted::new(one, Step::Fence {}, FENCE_WITHIN)).collect();
    wanted.extend(others.iter().map(|one| Wanted::new(one, Step::StopReceiver {}, STOP_WITHIN)));
    let mut fences = script.stage(wanted)?;
    let mut stops = fences.split_off(old.len());
    if old.len() > 1 {
        // Servers that an unfinished epoch may have opened are acknowledgers of each other: closed, they could still receive.
        let runs = |fence: &StepResult| {
            report(fence).is_some_and(|report| matches!(report.process, Some(Process::Running { .. })))
        };
        let wanted = old.iter().zip(&fences).filter(|(_, fence)| runs(fence));
        let wanted = wanted.map(|(one, _)| Wanted::new(one, Step::StopReceiver {}, STOP_WITHIN)).collect();
        stops.extend(script.stage(wanted)?);
    }
    let held = Held { action, fences: &fences, stops: &stops };

    match held.choose() {
        Ok(choice) => open(script, action, &held, choice),
        Err(outcome) => let_go(script, &held, outcome),
    }
}

/// What the first stage found.
struct Held<'a> {
    action: &'a FailOver,
    fences: &'a [&'a StepResult],
    stops: &'a [&'a StepResult],
}

/// Who is opened, with what.
struct Choice {
    primary: InstanceId,
    apply: GtidSet,
}

impl Held<'_> {
    /// Acknowledgers of `old` whose receiver is confirmed stopped.
    fn stopped<'b>(&'b self, old: &'b InstanceId) -> impl Iterator<Item = &'b InstanceId> {
        let done = |instance: &&InstanceId| {
            self.stops.iter().any(|stop| stop.instance == **instance && report(stop).is_some())
        };
        self.action.spec.acknowledgers_of(old).filter(done)
    }

    fn fence(&self, old: &InstanceId) -> Option<&StepResult> {
        self.fences.iter().copied().find(|fence| fence.instance == *old)
    }

    /// Rule 3: (b) confirmed closed or down, or (a) enough of its acknowledgers stopped listening to it.
    fn is_fenced(&self, old: &InstanceId) -> bool {
        let n = self.action.spec.acknowledgers_of(old).count();
        let needed = self.action.spec.quorum(old).max(n / 2 + 1);
        self.fence(old).is_some_and(|fence| report(fence).is_some()) || (n > 0 && self.stopped(old).count() >= needed)
    }

    /// Rule 4: the sets of Q acknowledgers, or the old primary's own, read while it runs closed: nobody has told its guard that
    /// it was superseded, so its log is whole. Who restarted may have lost what it acknowledged, and does not count.
    fn has_data(&self, old: &InstanceId) -> bool {
        let own = self.fence(old).and_then(report).is_some_and(|report| report.executed.is_some());
        let whole = |instance: &&InstanceId| self.counts(instance) && !self.action.restarted.contains(*instance);
        own || self.stopped(old).filter(whole).count() >= self.action.spec.quorum(old)
    }

    /// Whether what it holds counts: of who may be promoted, and of who was open. A member that was superseded may hold what
    /// nobody acknowledged, and must not stand in the way of everybody else.
    fn counts(&self, instance: &InstanceId) -> bool {
        self.action.candidates.contains(instance) || self.action.old_primaries.contains(instance)
    }

    /// Every set that counts, with its owner.
    fn sets(&self) -> Vec<(&InstanceId, &GtidSet)> {
        let all = self.fences.iter().copied().chain(self.stops.iter().copied());
        all.filter(|result| self.counts(&result.instance))
            .filter_map(|result| {
                let report = report(result)?;
                Some((&result.instance, report.received.as_ref().or(report.executed.as_ref())?))
            })
            .collect()
    }

    fn choose(&self) -> Result<Choice, Outcome> {
        for old in &self.action.old_primaries {
            if !self.is_fenced(old) {
                return Err(self.refuse(old, "cannot be fenced: it may still acknowledge writes"));
            }
            if !self.has_data(old) {
                return Err(self.refuse(old, "may have acknowledged writes that nobody who answers holds"));
            }
        }
        let sets = self.sets();
        let union = union(&sets).map_err(|reason| refused(reason, "an operator"))?;
        let may = |instance: &InstanceId| self.action.candidates.contains(instance);
        let complete = |set: &GtidSet| union.is_subset(set).unwrap_or(false);
        let able: Vec<&InstanceId> = sets
            .iter()
            .filter(|(instance, set)| may(instance) && complete(set))
            .map(|(instance, _)| *instance)
            .collect();
        // Opening the old primary again changes no role: nothing is better, when it holds everything.
        let again = able.iter().find(|instance| self.action.old_primaries.contains(instance));
        match again.or(able.first()) {
            Some(primary) => Ok(Choice { primary: (**primary).clone(), apply: union }),
            None => Err(self.nobody_complete(&sets)),
        }
    }

    fn nobody_complete(&self, sets: &[(&InstanceId, &GtidSet)]) -> Outcome {
        let held: Vec<String> = sets.iter().map(|(instance, set)| format!("{instance} holds {set}")).collect();
        let barred: Vec<String> =
            self.action.excluded.iter().map(|one| format!("{} may not: {}", one.instance, one.reason)).collect();
        let reason = format!("no candidate holds everything: {}; {}", held.join("; "), barred.join("; "));
        refused(reason, "a candidate that holds all of it, or an operator's choice")
    }

    fn refuse(&self, old: &InstanceId, what: &str) -> Outcome {
        let missing: Vec<String> = self
            .action
            .spec
            .acknowledgers_of(old)
            .filter(|instance| !self.stopped(old).any(|other| other == *instance))
            .map(ToString::to_string)
            .collect();
        let troubles: Vec<String> = self.fences.iter().chain(self.stops).filter_map(|result| trouble(result)).collect();
        let details = if troubles.is_empty() { String::new() } else { format!(" ({})", troubles.join("; ")) };
        let unblock = if missing.is_empty() { old.to_string() } else { missing.join(" or ") };
        refused(format!("{old} {what}{details}"), &unblock)
    }
}

fn refused(reason: impl Into<String>, unblock: &str) -> Outcome {
    Outcome::Refused { reason: reason.into(), unblock: unblock.to_owned() }
}

fn union(sets: &[(&InstanceId, &GtidSet)]) -> Result<GtidSet, String> {
    let mut sets = sets.iter();
    let Some((_, first)) = sets.next() else { return Err("no GTID set could be read".to_owned()) };
    sets.try_fold((*first).clone(), |all, (instance, set)| {
        all.union(set).map_err(|error| format!("the set of {instance} does not go with the others: {error}"))
    })
}

/// Rule 5: apply the union, open; the others follow at the same time, for without them nothing is acknowledged.
fn open(script: &mut Script<'_>, action: &FailOver, held: &Held<'_>, choice: Choice) -> Result<Outcome, UnderWay> {
    let spec = &action.spec;
    let Some(primary) = spec.member(&choice.primary) else {
        return Ok(refused(format!("{} is no member", choice.primary), "an operator"));
    };
    let promote = Step::Promote { apply: choice.apply, acknowledgements: spec.acknowledgements };
    let mut wanted = vec![Wanted::new(primary, promote, PROMOTE_WITHIN)];
    // Who was open, or is out, is compared before it follows: that is the rejoin's work.
    let follows = |stop: &&&StepResult| {
        let clean = action.candidates.contains(&stop.instance) && !action.old_primaries.contains(&stop.instance);
        clean && stop.instance != choice.primary && report(stop).is_some()
    };
    for stop in held.stops.iter().filter(follows) {
        if let Some(member) = spec.member(&stop.instance) {
            wanted.push(Wanted::new(member, Step::Follow { source: primary.clone() }, FOLLOW_WITHIN));
        }
    }
    let results = script.stage(wanted)?;
    Ok(match trouble(results[0]) {
        None => Outcome::Done { primary: choice.primary },
        Some(reason) => Outcome::Abandoned { reason, may_have_opened: true },
    })
}

/// Nothing was opened: servers that were held down are started again, closed, so that the next epoch can use them.
fn let_go(script: &mut Script<'_>, held: &Held<'_>, outcome: Outcome) -> Result<Outcome, UnderWay> {
    let down = |fence: &&&StepResult| {
        report(fence).is_some_and(|report| !matches!(report.process, Some(Process::Running { .. })))
    };
    let members = held.fences.iter().filter(down).filter_map(|fence| held.action.spec.member(&fence.instance));
    let wanted: Vec<Wanted<'_>> =
        members.map(|one| Wanted::new(one, Step::StartClosed { keep: None }, START_WITHIN)).collect();
    script.stage(wanted)?;
    Ok(outcome)
}
