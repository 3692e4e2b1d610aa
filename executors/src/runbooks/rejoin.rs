//! Bring a member back as a replica: close it, cut off what it wrote and nobody acknowledged, start it closed, compare what it
//! has executed with the primary, name what is extra, neutralise what touches only Millrace's own schema, then let it follow
//! and catch up. Anything else that is extra is somebody's data: it stays quarantined, and the refusal names it.

use std::time::Duration;

use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::topics::actions::{ExtraTransaction, OWN_SCHEMA, Rejoin, Step, StepResult};
use millrace_schemas::topics::journal::Outcome;

use super::{Script, UnderWay, report, trouble};

/// 4 s: closing is given 1 s and killing is instant; the rest is the way there and back.
const FENCE_WITHIN: Duration = Duration::from_secs(4);
/// 30 s: recovery after a crash.
const START_WITHIN: Duration = Duration::from_secs(30);
/// 10 s: reading sets and stopping replication.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// 20 s: the binary log is searched.
const NAME_WITHIN: Duration = Duration::from_secs(20);
/// 30 s: the relay log of the old source is applied before the new one is followed.
const FOLLOW_WITHIN: Duration = Duration::from_secs(30);
/// 40 s: it fetches what it missed.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(40);

/// Names in a refusal: more of them would not help, the step's result has all.
const NAMED_MAX: usize = 5;

pub(super) fn run(script: &mut Script<'_>, rejoin: &Rejoin) -> Result<Outcome, UnderWay> {
    let (Some(member), Some(primary)) = (rejoin.spec.member(&rejoin.instance), rejoin.spec.member(&rejoin.primary))
    else {
        return Ok(abandoned("it is no member any more".to_owned()));
    };
    let promoted = script.step(primary, Step::ReadSets {}, READ_WITHIN)?;
    let Some(keep) = executed(promoted) else { return Ok(abandoned(no_set(promoted))) };
    // A primary that was cut off and returns is still open: it is closed before anything else.
    let fenced = script.step(member, Step::Fence {}, FENCE_WITHIN)?;
    if let Some(reason) = trouble(fenced) {
        return Ok(abandoned(reason));
    }
    let started = script.step(member, Step::StartClosed { keep: Some(keep.clone()) }, START_WITHIN)?;
    if let Some(reason) = trouble(started) {
        return Ok(abandoned(reason));
    }
    let quarantined = script.step(member, Step::Quarantine {}, READ_WITHIN)?;
    let Some(own) = executed(quarantined) else { return Ok(abandoned(no_set(quarantined))) };
    // Read after the member's: what the primary executes meanwhile is not extra on the member.
    let read = script.step(primary, Step::ReadSets {}, READ_WITHIN)?;
    let Some(theirs) = executed(read) else { return Ok(abandoned(no_set(read))) };
    let extra = match own.extra_to(theirs) {
        Ok(extra) => extra,
        Err(error) => return Ok(abandoned(error.to_string())),
    };
    if !extra.is_empty() {
        let named = script.step(member, Step::NameExtra { extra: extra.clone() }, NAME_WITHIN)?;
        let Some(report) = report(named) else { return Ok(abandoned(trouble(named).unwrap_or_default())) };
        if report.transactions.is_empty() || !report.transactions.iter().all(ExtraTransaction::is_own) {
            return Ok(Outcome::Refused {
                reason: describe(&extra, &report.transactions),
                unblock: "an operator".to_owned(),
            });
        }
        if rejoin.spec.flavour == Flavour::MariaDb {
            let words = "; MariaDB cannot be given empty transactions of the same numbers";
            let reason = describe(&extra, &report.transactions) + words;
            return Ok(Outcome::Refused { reason, unblock: "a rebuild of the member".to_owned() });
        }
        let neutralised = script.step(primary, Step::Neutralise { extra }, READ_WITHIN)?;
        if let Some(reason) = trouble(neutralised) {
            return Ok(abandoned(reason));
        }
    }
    let followed = script.step(member, Step::Follow { source: primary.clone() }, FOLLOW_WITHIN)?;
    if let Some(reason) = trouble(followed) {
        return Ok(abandoned(reason));
    }
    let caught_up = script.step(member, Step::CatchUp { executed: theirs.clone() }, CATCH_UP_WITHIN)?;
    Ok(trouble(caught_up).map_or(Outcome::Done { primary: rejoin.primary.clone() }, abandoned))
}

fn executed(result: &StepResult) -> Option<&GtidSet> {
    report(result)?.executed.as_ref()
}

fn no_set(result: &StepResult) -> String {
    trouble(result).unwrap_or_else(|| format!("{} on {} reported no GTID set", result.step, result.instance))
}

fn describe(extra: &GtidSet, transactions: &[ExtraTransaction]) -> String {
    let named: Vec<String> = transactions
        .iter()
        .filter(|one| !one.is_own())
        .take(NAMED_MAX)
        .map(|one| {
            let tables = if one.tables.is_empty() { "unknown tables".to_owned() } else { one.tables.join(", ") };
            format!("{} on {tables}", one.gtid)
        })
        .collect();
    let words = match (transactions.is_empty(), named.is_empty()) {
        (true, _) => "which could not be named".to_owned(),
        (false, true) => format!("all on Millrace's own schema {OWN_SCHEMA}"),
        (false, false) => named.join("; "),
    };
    format!("it has transactions that the primary does not have: {extra} ({words})")
}

fn abandoned(reason: String) -> Outcome {
    Outcome::Abandoned { reason, may_have_opened: false }
}
