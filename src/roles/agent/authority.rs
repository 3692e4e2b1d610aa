//! Which source counts the statements of each watched instance, shared by those that count. Rows of packets enter with what they
//! show of the traffic; those of seconds that are theirs to count leave. What the sources have of other seconds is set aside and
//! counted as such, never added.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use millrace_collectors::authority::{Authority, Turns};
use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::metrics::{Registry, STATEMENTS_SET_ASIDE, STATEMENTS_SOURCE, STATEMENTS_UNSEEN};
use millrace_schemas::topics::inventory::Counting;
use millrace_schemas::topics::queries::{Row, Source};

use super::Place;

/// The sources that may count; slow logs never do.
const SOURCES: [Source; 2] = [Source::Wire, Source::PerformanceSchema];

/// The authorities of all instances of an agent.
#[derive(Debug, Default)]
pub(super) struct Authorities(Mutex<HashMap<InstanceId, Watched>>);

#[derive(Debug)]
struct Watched {
    authority: Authority,
    /// The agent's own accounts: what they do says nothing of the application's traffic.
    own: Vec<String>,
    /// How many in a hundred of its statements no packet showed, when that was asked last.
    unseen: Option<u8>,
}

impl Authorities {
    /// An instance is watched from now on; `captured` says whether packets are.
    pub(super) fn add(&self, place: &Place, captured: bool, metrics: &Registry) {
        let authority = place.statements.map_or_else(|| Authority::automatic(captured), Authority::fixed);
        let own = [Some(&place.target), place.pulse.as_ref()].into_iter().flatten();
        let own = own.map(|target| target.account.user.clone()).collect();
        show(&place.instance, authority.source(), metrics);
        self.lock().insert(place.instance.clone(), Watched { authority, own, unseen: None });
    }

    /// Looks at, or changes, the authority of an instance that was added.
    pub(super) fn with<T>(&self, instance: &InstanceId, work: impl FnOnce(&mut Authority) -> T) -> Option<T> {
        self.lock().get_mut(instance).map(|watched| work(&mut watched.authority))
    }

    /// Compares how many statements of each user a server counted behind the second `from` up to `to` with what packets showed: from
    /// then on it is told which share they did not show.
    pub(super) fn compare(
        &self,
        instance: &InstanceId,
        (from, to): (i64, i64),
        counted: &[(String, u64)],
        metrics: &Registry,
    ) {
        let mut watched = self.lock();
        let Some(Watched { authority, own, unseen }) = watched.get_mut(instance) else { return };
        let others = counted.iter().filter(|(user, _)| !own.contains(user));
        let share = authority.compare(from, to, others.map(|(_, statements)| statements).sum());
        *unseen = Some((share * 100.0).round() as u8);
        metrics.set(&STATEMENTS_UNSEEN, &[instance.as_str()], share);
    }

    /// How much no packet shows is not known any more: it must not look like what was known earlier.
    pub(super) fn lose_share(&self, instance: &InstanceId, metrics: &Registry) {
        if let Some(watched) = self.lock().get_mut(instance) {
            watched.unseen = None;
        }
        metrics.forget(&STATEMENTS_UNSEEN, &[instance.as_str()]);
    }

    /// How the statements of an instance are counted now.
    pub(super) fn counting(&self, instance: &InstanceId) -> Option<Counting> {
        let watched = self.lock();
        let Watched { authority, unseen, .. } = watched.get(instance)?;
        Some(Counting { source: authority.source(), unseen_percent: *unseen })
    }

    /// From the second `from` on `to` counts.
    pub(super) fn change(&self, instance: &InstanceId, to: Source, from: i64, metrics: &Registry) {
        self.with(instance, |authority| authority.change(to, from));
        show(instance, to, metrics);
    }

    /// No packets are captured any more, of no instance.
    pub(super) fn lose_capture(&self) {
        for watched in self.lock().values_mut() {
            watched.authority.lose_capture();
        }
    }

    /// Learns from rows of packets, and keeps those that count.
    pub(super) fn take(&self, rows: &mut Vec<Row>, metrics: &Registry) {
        let mut watched = self.lock();
        rows.retain(|row| {
            let Some(Watched { authority, own, .. }) = watched.get_mut(&row.instance) else { return true };
            let count = row.count * u64::from(row.sample_factor);
            if row.digest == DigestId::ENCRYPTED {
                authority.observe(row.second, Turns { encrypted: count, ..Turns::default() });
            } else if row.digest != DigestId::ADMIN && !own.contains(&row.user) {
                authority.observe(row.second, Turns { clear: count, ..Turns::default() });
            }
            let counts = authority.counts(row.source, row.second);
            if !counts {
                metrics.add(&STATEMENTS_SET_ASIDE, &[row.instance.as_str(), row.source.as_str()], row.count);
            }
            counts
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<InstanceId, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show(instance: &InstanceId, source: Source, metrics: &Registry) {
    for one in SOURCES {
        metrics.set(&STATEMENTS_SOURCE, &[instance.as_str(), one.as_str()], f64::from(u8::from(one == source)));
    }
}
