//! Keeps the statements of one instance counted by one source: asks every second which that ought to be, brings a change about,
//! and looks at the server's own counters while they are the one. A change costs up to two seconds of counts and never counts a
//! statement twice: the old source ends before the new one begins.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millrace_collectors::authority::Authority;
use millrace_schemas::metrics::STATEMENTS_CHANGES;
use millrace_schemas::topics::queries::Source;
use tokio::time::Instant;

use super::counters::{Counters, Unusable};
use super::{Agent, Place, stopped, watch};
use crate::roles::speaker::now;

/// 1 s: packets tell of the traffic once a second.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// 10 s, as long as the shortest window: each look reads the table of digests, at most 10,000 rows.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Each window gets the counts of one look, 3 s before its end: one that is a little late still falls into it. Looks that were only
/// 10 s apart would drift through the windows, and leave one of them empty every few minutes.
const LOOK_AT_SECOND: i64 = 7;
/// 60 s until counters that could not be read are asked again, and until those that no longer can are given up for packets.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

struct Counting {
    agent: Arc<Agent>,
    place: Place,
    counters: Counters,
    /// When the counters are looked at next.
    look: Instant,
    /// Since when they cannot be read.
    failing: Option<Instant>,
    /// Why they could not be read the last time; each reason is told once.
    told: Option<String>,
    unseen: Unseen,
}

/// Finds out how much of a server's statements no packet shows: those of sockets, and of interfaces that are not captured.
#[derive(Default)]
struct Unseen {
    /// When the server is asked next; at once.
    ask: Option<Instant>,
    /// How many statements each user had sent by the end of this second.
    last: Option<(i64, HashMap<String, u64>)>,
    /// What was added between the last two looks. By the next one packets have told all of it.
    added: Option<Added>,
}

/// What each user sent behind one second up to another.
struct Added {
    seconds: (i64, i64),
    by_user: Vec<(String, u64)>,
}

pub(super) async fn run(agent: Arc<Agent>, place: Place) {
    if place.statements.is_none() && !watch::is_here(&place).await {
        // Whatever is captured here, the traffic of its clients is hardly among it.
        agent.authorities.with(&place.instance, Authority::lose_capture);
    }
    let counters = Counters::new(&place);
    let mut stop = agent.stop.clone();
    let mut counting =
        Counting { agent, place, counters, look: Instant::now(), failing: None, told: None, unseen: Unseen::default() };
    loop {
        counting.step().await;
        tokio::select! {
            () = tokio::time::sleep(counting.rest()) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

impl Counting {
    /// Until the next step: a look that is due before is not late by it.
    fn rest(&self) -> Duration {
        let look = self.look.saturating_duration_since(Instant::now());
        if look.is_zero() { ASK_EVERY } else { look.min(ASK_EVERY) }
    }

    async fn step(&mut self) {
        let now = second();
        let instance = &self.place.instance;
        let asked = self.agent.authorities.with(instance, |authority| (authority.source(), authority.wanted(now)));
        match asked {
            Some((Source::Wire, Some(Source::PerformanceSchema))) => self.take_over().await,
            Some((Source::PerformanceSchema, Some(Source::Wire))) => self.hand_back().await,
            Some((Source::PerformanceSchema, _)) if Instant::now() >= self.look => self.look().await,
            _ => {}
        }
        self.compare().await;
    }

    /// Compares what packets showed with what the server counted, while it is open which of them counts.
    async fn compare(&mut self) {
        let Self { agent, place, counters, unseen, .. } = self;
        let instance = &place.instance;
        if place.statements.is_some() || unseen.ask.is_some_and(|at| Instant::now() < at) {
            return;
        }
        unseen.ask = Some(Instant::now() + LOOK_EVERY);
        let captured = agent.authorities.with(instance, |authority| authority.has_capture()) == Some(true);
        // Packets are told by seconds: asked between two of them, the server says what whole seconds had.
        let whole = second();
        tokio::time::sleep(until(whole + 1)).await;
        let counted = if captured { counters.by_user().await.map(Some) } else { Ok(None) };
        let counted = counted.unwrap_or_else(|error| {
            // The heartbeat says so, and doctor what to grant.
            tracing::debug!(%instance, %error, "it is not known how many statements no packet shows");
            None
        });
        match counted.as_ref().and(unseen.added.take()) {
            Some(Added { seconds, by_user }) => agent.authorities.compare(instance, seconds, &by_user, &agent.metrics),
            None => agent.authorities.lose_share(instance, &agent.metrics),
        }
        unseen.learn(whole, counted);
    }

    /// The counters count from the next second on, if they can be read.
    async fn take_over(&mut self) {
        if Instant::now() < self.look {
            return;
        }
        if let Err(error) = self.counters.probe().await {
            self.look = Instant::now() + GIVE_UP_AFTER;
            return self.tell(&error, "its packets do not tell its statements, and its own counters cannot be read");
        }
        let from = second() + 1;
        self.change(Source::PerformanceSchema, from);
        tokio::time::sleep(until(from)).await;
        self.look().await; // the first: it tells nothing, and what comes is counted from here
    }

    /// Packets count from the next second on; what the counters have until now is told first.
    async fn hand_back(&mut self) {
        self.look().await;
        self.change(Source::Wire, second() + 1);
    }

    fn change(&mut self, to: Source, from: i64) {
        let (agent, instance) = (&self.agent, &self.place.instance);
        agent.authorities.change(instance, to, from, &agent.metrics);
        agent.metrics.add(&STATEMENTS_CHANGES, &[instance.as_str(), to.as_str()], 1);
        tracing::info!(%instance, source = to.as_str(), "statements are counted by another source from now on");
        self.look = Instant::now();
        self.failing = None;
        if to == Source::Wire {
            self.counters.forget();
        }
    }

    async fn look(&mut self) {
        self.look = Instant::now() + until(next_look(second()));
        match self.counters.look(&self.agent, &self.place).await {
            Ok(()) => (self.failing, self.told) = (None, None),
            Err(error) => {
                let since = *self.failing.get_or_insert_with(Instant::now);
                self.tell(&error, "statements are not counted until performance_schema can be read");
                if since.elapsed() >= GIVE_UP_AFTER && self.may_give_up() {
                    self.change(Source::Wire, second() + 1);
                    self.look = Instant::now() + GIVE_UP_AFTER;
                }
            }
        }
    }

    /// Packets tell something at least.
    fn may_give_up(&self) -> bool {
        let has = self.agent.authorities.with(&self.place.instance, |authority| authority.has_capture());
        self.place.statements.is_none() && has == Some(true)
    }

    fn tell(&mut self, why: &Unusable, what: &'static str) {
        let error = why.to_string();
        let known = matches!(why, Unusable::Server(error) if error.is_credentials());
        if known {
            // The heartbeat says so already, and asks for all.
            tracing::debug!(instance = %self.place.instance, %error, "{what}");
        } else if self.told.as_ref() != Some(&error) {
            tracing::warn!(instance = %self.place.instance, %error, "{what}");
        }
        self.told = Some(error);
    }
}

impl Unseen {
    /// Takes how many each user had sent by `second`; none when that is not known.
    fn learn(&mut self, second: i64, counted: Option<Vec<(String, u64)>>) {
        self.added = None;
        let counted: Option<HashMap<String, u64>> = counted.map(|counted| counted.into_iter().collect());
        if let (Some((before, last)), Some(counted)) = (&self.last, &counted) {
            // Fewer than before: the server, or its table, began anew.
            let began_anew = last.iter().any(|(user, sent)| counted.get(user).is_none_or(|now| now < sent));
            let added = |(user, sent): (&String, &u64)| (user.clone(), sent - last.get(user).copied().unwrap_or(0));
            let seconds = (*before, second);
            self.added = (!began_anew).then(|| Added { seconds, by_user: counted.iter().map(added).collect() });
        }
        self.last = counted.map(|counted| (second, counted));
    }
}

/// The second of the first look after `second`.
fn next_look(second: i64) -> i64 {
    let width = LOOK_EVERY.as_secs().cast_signed();
    let of_window = second.div_euclid(width) * width + LOOK_AT_SECOND;
    if of_window > second { of_window } else { of_window + width }
}

/// The second that it is.
fn second() -> i64 {
    now().0.div_euclid(1_000_000)
}

/// How long it is until `second` has begun.
fn until(second: i64) -> Duration {
    Duration::from_micros(u64::try_from(second * 1_000_000 - now().0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_has_one_look_however_late_it_is() {
        assert_eq!([100, 106, 107, 109, 110].map(next_look), [107, 107, 117, 117, 117]);
        // Up to 2 s late each time: what was counted is told of the second before, which lies in the window that was meant.
        let mut look = next_look(0);
        for window in 0..1_000 {
            let looked = look + window % 3;
            assert_eq!((looked - 1).div_euclid(10), window);
            look = next_look(looked);
        }
    }
}
