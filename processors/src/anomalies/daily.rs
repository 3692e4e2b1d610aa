//! The summary of a day: one finding of the fleet that lists what was unusual, by cluster and the worst first. Each cluster's gate says
//! at the time of day what it found ([`UnusualDay`]), under the fleet, in whose partition all of it has one order. In: these words.
//! Out: one finding a day, two minutes later by the time of that partition, from however many processes. Whoever comes too late for
//! it is told the next day. It never says a second time what it has said.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, FLEET, fleet};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Finding, Severity, UnusualDay, fingerprint};
use millrace_schemas::topics::journal::Fact;
use serde::{Deserialize, Serialize};

use crate::fold::{Out, Processor};

/// The rule: channels that want it name it, or take what is only worth knowing.
pub const SUMMARY: &str = "AnomalySummary";
/// A day.
pub(super) const DAY: Duration = Duration::from_hours(24);
/// 2 min: the partitions of a fleet are some seconds apart.
const GATHERS: Duration = Duration::from_mins(2);
/// 10,000 clusters, each of which says 20 findings at most: some megabytes, once a day.
const CLUSTERS: usize = 10_000;
/// 20 findings, the worst, of a cluster and of the fleet: more nobody reads in one message, and the console has all.
pub(super) const LISTED: usize = 20;
/// 140 characters of each: what, since when and by how much; a chat shows the message whole.
const EACH: usize = 140;

/// The time of day in UTC at which days end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay(u32);

impl TimeOfDay {
    /// 7 o'clock: who comes to work reads it first.
    pub const MORNING: Self = Self(7 * 60);

    /// The first moment after `now` at this time of day.
    pub(super) fn after(self, now: Timestamp) -> Timestamp {
        let (day, at) = (86_400_000_000, i64::from(self.0) * 60_000_000);
        Timestamp((now.0 - at).div_euclid(day).saturating_add(1).saturating_mul(day).saturating_add(at))
    }
}

impl std::str::FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let number = |part: &str| Some(part).filter(digits)?.parse::<u32>().ok();
        text.split_once(':')
            .and_then(|(hour, minute)| Some((number(hour)?, number(minute)?)))
            .filter(|(hour, minute)| *hour < 24 && *minute < 60)
            .map(|(hour, minute)| Self(hour * 60 + minute))
            .ok_or_else(|| format!("'{text}' is no time of day from 00:00 to 23:59"))
    }
}

/// How much worse one is than another: who would be notified first, then by how many times it is not as usual.
pub(super) fn badness(finding: &Finding) -> (bool, f64) {
    let times = finding.value.filter(|value| *value > 0.0).map_or(0.0, |value| value.ln().abs());
    (finding.notifies, times)
}

/// The worst of them first.
pub(super) fn worst_first(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let ((loud, times), (other_loud, other)) = (badness(a), badness(b));
        other_loud.cmp(&loud).then(other.total_cmp(&times)).then(a.fingerprint.cmp(&b.fingerprint))
    });
}

/// Gathers days.
#[derive(Clone, Copy, Debug, Default)]
pub struct Daily;

/// What is known of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What was said and is in no summary.
    days: BTreeMap<ClusterId, UnusualDay>,
    /// The end of the day that the last summary was of; zero before the first.
    said: Timestamp,
    /// The summary has not been taken back.
    stands: bool,
}

impl State {
    /// The end of the day that is summed up next.
    fn ends(&self) -> Option<Timestamp> {
        let newest = self.days.values().map(|day| day.until).max();
        match newest {
            Some(newest) if newest > self.said => Some(newest),
            None if !self.stands => None,
            _ => Some(self.said + DAY),
        }
    }
}

impl Processor for Daily {
    const NAME: &'static str = "anomalies.daily";
    const VERSION: u32 = 1;
    type In = Fact;
    type State = State;

    fn keeps(cluster: &ClusterId) -> bool {
        cluster.as_str() == FLEET
    }

    fn step(&self, state: &mut State, event: &Event<Fact>, _: &mut Out<'_>) {
        let Fact::UnusualDay(day) = &event.payload else { return };
        let is_full = state.days.len() >= CLUSTERS;
        match state.days.get_mut(&day.cluster) {
            // One came too late for its day: both are in the next summary.
            Some(before) => {
                before.until = before.until.max(day.until);
                before.count += day.count;
                before.findings.extend(day.findings.iter().cloned());
                worst_first(&mut before.findings);
                before.findings.truncate(LISTED);
            }
            None if !is_full => drop(state.days.insert(day.cluster.clone(), (**day).clone())),
            None => {}
        }
    }

    fn wake(&self, state: &State) -> Option<Timestamp> {
        state.ends().map(|ends| ends + GATHERS)
    }

    fn tick(&self, state: &mut State, _: Timestamp, out: &mut Out<'_>) {
        let Some(until) = state.ends() else { return };
        let days = std::mem::take(&mut state.days);
        (state.said, state.stands) = (until, !days.is_empty());
        let finding = Finding {
            fingerprint: fingerprint(&fleet(), SUMMARY, None, &BTreeMap::new()),
            rule: SUMMARY.to_owned(),
            instance: None,
            labels: BTreeMap::new(),
            severity: Severity::Info,
            state: if state.stands { AlertState::Firing } else { AlertState::Resolved },
            since: until,
            summary: summary(until, days.into_values().collect()),
            value: None,
            notifies: true,
        };
        out.emit(Subject::cluster(fleet()), None, Fact::Finding(Box::new(finding)));
    }

    fn resume(&self, _: &mut State, _: Timestamp) {}

    fn unknown_evidence(&self, _: &mut State, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}

/// The text: a line for each cluster, that with the worst first.
fn summary(until: Timestamp, mut days: Vec<UnusualDay>) -> String {
    let text = until.to_string();
    let end = text.get(..16).map_or(text.clone(), |end| end.replace('T', " "));
    let count: u64 = days.iter().map(|day| day.count).sum();
    if count == 0 {
        return format!("nothing was unusual in the day until {end} UTC");
    }
    let things = if count == 1 { "thing was" } else { "things were" };
    let clusters = if days.len() == 1 { "1 cluster".to_owned() } else { format!("{} clusters", days.len()) };
    let worst = |day: &UnusualDay| day.findings.first().map_or((false, 0.0), badness);
    days.sort_by(|a, b| {
        let ((loud, times), (other_loud, other)) = (worst(a), worst(b));
        other_loud.cmp(&loud).then(other.total_cmp(&times)).then(a.cluster.cmp(&b.cluster))
    });
    let (mut lines, mut listed) = (Vec::new(), 0);
    for day in &days {
        let left = LISTED - listed;
        if left == 0 {
            break;
        }
        let findings: Vec<String> = day.findings.iter().take(left).map(|one| shortened(&one.summary)).collect();
        listed += findings.len();
        lines.push(format!("{} ({}): {}", day.cluster, day.count, findings.join("; ")));
    }
    let others = count.saturating_sub(listed as u64);
    let others = if others == 0 { String::new() } else { format!("\nand {others} more") };
    format!("{count} {things} unusual in the day until {end} UTC, of {clusters}:\n{}{others}", lines.join("\n"))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(EACH) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
