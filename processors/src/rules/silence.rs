//! What says nothing: series of samples that were there and are not any more. Silence counts from the last word, and not before the
//! end of an outage in which nobody could have spoken.

use millrace_schemas::time::Timestamp;

use super::engine::{Engine, Judged, Moment, Series, begin, resolve};
use super::facts::Numbers;
use super::rule::{Judge, Rule};
use crate::fold::Out;

impl Engine {
    fn absences(&self) -> impl Iterator<Item = &Rule> {
        self.own().filter(|rule| rule.judge == Judge::Absence && rule.metric.is_some())
    }

    /// Series that are there have spoken.
    pub(super) fn spoke(&self, judged: &mut Judged, numbers: &Numbers, at: Moment<'_>, out: &mut Out<'_>) {
        for rule in self.absences() {
            for found in super::measure::found(rule, numbers) {
                let Some((one, _)) = judged.series(rule, numbers, &found.labels, at) else { continue };
                one.last = at.now;
                resolve(&rule.name, one, None, "it is told again", at, out);
            }
        }
    }

    /// When the next of them will have been silent for too long.
    pub(super) fn silent_from(&self, judged: &Judged, quiet_from: Timestamp) -> Option<Timestamp> {
        let due = |rule: &Rule| {
            let series = judged.rules.get(&rule.name)?.values().filter(|one| one.firing.is_none());
            series.map(|one| one.last.max(quiet_from) + rule.limit.lasts).min()
        };
        self.absences().filter_map(due).min()
    }

    /// Tells of those that have been.
    pub(super) fn silent(&self, judged: &mut Judged, quiet_from: Timestamp, at: Moment<'_>, out: &mut Out<'_>) {
        for rule in self.absences() {
            let series = judged.rules.get_mut(&rule.name).into_iter().flat_map(|series| series.values_mut());
            for one in series.filter(|one: &&mut Series| one.firing.is_none()) {
                let from = one.last.max(quiet_from);
                let Some(limit) = rule.limit_for(at.cluster, one.instance()) else { continue };
                let silent = at.now.since(from);
                if silent >= limit.lasts {
                    begin(rule, &limit, one, (from, silent.as_secs_f64()), at, out);
                }
            }
        }
    }
}
