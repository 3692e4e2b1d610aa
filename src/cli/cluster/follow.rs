//! What follows from an operator's command: told until the action that it led to has ended.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::bail;
use millrace_processors::failover::{Failover, State};
use millrace_schemas::cluster::Mode;
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Action;
use millrace_schemas::topics::inventory::Item;
use millrace_schemas::topics::journal::{Command, Ended, Fact, Outcome};
use serde::Serialize;

use super::super::End;
use super::super::ledger::Ledger;
use super::super::output::{Form, answer, say};
use crate::journal::why::describe;
use crate::journal::{SCHEMA_VERSION, appended_to};

/// 10 s until somebody takes what was asked: deciders and executors answer in milliseconds, or do not run.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// 4 minutes until it has ended: the longest action, the creation of a cluster, has three.
const ENDED_WITHIN: Duration = Duration::from_mins(4);

/// Which action an operator waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted {
    /// The one that was decided because of this fact.
    RestsOn(EventId),
    /// The one that changes roles in this epoch.
    Changes(Epoch),
}

/// How an action ended.
#[derive(Debug, Serialize)]
struct Told {
    schema_version: u32,
    cluster: ClusterId,
    action: EventId,
    kind: &'static str,
    epoch: u64,
    outcome: Outcome,
    primary: Option<InstanceId>,
}

impl Ledger<Failover> {
    /// The state of a cluster that was declared.
    pub(in crate::cli) fn known(&self, cluster: &ClusterId) -> anyhow::Result<&State> {
        let Some(state) = self.state(cluster).filter(|state| state.spec.is_some()) else {
            let known: Vec<&str> = self.clusters().map(|(cluster, _)| cluster.as_str()).collect();
            bail!(
                "there is no cluster {cluster}; known: {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
        };
        Ok(state)
    }

    /// The hosts whose agents have spoken.
    pub(super) fn hosts(&self) -> anyhow::Result<BTreeSet<HostId>> {
        let mut hosts = BTreeSet::new();
        for record in appended_to(&self.bus, Topic::Inventory)? {
            if let Ok(Event { payload: Item::Host(host), .. }) = Event::<Item>::from_record(&record?) {
                hosts.insert(host.host);
            }
        }
        Ok(hosts)
    }

    /// Makes way for a declaration: a cluster that is there stays; attempts at one that never came to be are ended first.
    pub(super) fn make_way(&mut self, cluster: &ClusterId) -> anyhow::Result<()> {
        let Some(state) = self.state(cluster).filter(|state| state.spec.is_some()) else { return Ok(()) };
        if state.primary.is_some() {
            bail!("{cluster} is there already: `millrace why {cluster}` says how it is");
        }
        self.say(cluster, Fact::Command(Command::SetMode { mode: Mode::Observe }))?;
        let until = Instant::now() + TAKEN_WITHIN;
        while let Some(state) = self.state(cluster).filter(|state| !state.may_be_declared()) {
            if let Some(instance) = state.may_be_open.first() {
                return Err(End::Refused(format!(
                    "an attempt to make {cluster} may have opened {instance}, so it cannot be declared anew; \
                     `millrace cluster mode {cluster} auto` lets the attempts go on"
                ))
                .into());
            }
            if Instant::now() > until {
                return Err(End::Refused(format!(
                    "an attempt to make {cluster} is still under way; it is the last: try again when `millrace cluster list` \
                     shows none"
                ))
                .into());
            }
            self.poll()?;
        }
        Ok(())
    }

    /// Tells what follows until the action that is `wanted` has ended.
    pub(super) fn follow(&mut self, cluster: &ClusterId, wanted: Wanted, form: Form) -> anyhow::Result<()> {
        if !self.runs {
            say("it is in the journal; it will be done when `millrace up` runs")?;
            return Ok(());
        }
        let began = Instant::now();
        let mut action: Option<Action> = None;
        loop {
            action = action.or_else(|| self.find(cluster, wanted));
            for record in std::mem::take(&mut self.ahead) {
                let Ok(event) = Event::<Fact>::from_record(&record) else { continue };
                if event.subject.cluster != *cluster {
                    continue;
                }
                if let Fact::Ended(ended) = &event.payload
                    && let Some(action) = action.as_ref().filter(|action| action.id == ended.action)
                {
                    return self.told(action, ended, form);
                }
                let ours = matches!(event.payload, Fact::Claimed(_) | Fact::StepDone(_));
                if form == Form::Text
                    && ours
                    && let Some(text) = describe(&event.payload)
                {
                    let on = event.subject.instance.as_ref().map_or_else(String::new, |one| format!("{one}: "));
                    let at = event.appended.to_string();
                    say(&format!("{}  {on}{text}", at.get(11..23).unwrap_or(&at)))?;
                }
            }
            self.ahead = self.poll()?;
            if action.is_none() && began.elapsed() > TAKEN_WITHIN {
                return Err(End::Unknown(format!(
                    "nobody took it within {} s; it is in the journal, and is done when processors and executors run; \
                     `millrace why {cluster}` says what became of it",
                    TAKEN_WITHIN.as_secs()
                ))
                .into());
            }
            if began.elapsed() > ENDED_WITHIN {
                return Err(
                    End::Unknown(format!("it has not ended yet; `millrace why {cluster}` says how it goes")).into()
                );
            }
        }
    }

    /// The action that is wanted: under way, or ended already.
    fn find(&self, cluster: &ClusterId, wanted: Wanted) -> Option<Action> {
        let state = self.state(cluster)?;
        let known = [state.current.as_ref().map(|one| &one.action), state.last.as_ref().map(|one| &one.action)];
        let is_wanted = |action: &&Action| match wanted {
            Wanted::RestsOn(fact) => action.evidence.contains(&fact),
            Wanted::Changes(epoch) => action.kind.changes_roles() && action.epoch == epoch,
        };
        known.into_iter().flatten().find(is_wanted).cloned()
    }

    fn told(&self, action: &Action, ended: &Ended, form: Form) -> anyhow::Result<()> {
        let primary = self.state(&action.cluster).and_then(|state| state.primary.clone());
        let told = Told {
            schema_version: SCHEMA_VERSION,
            cluster: action.cluster.clone(),
            action: action.id,
            kind: action.kind.name(),
            epoch: action.epoch.0,
            outcome: ended.outcome.clone(),
            primary,
        };
        if form == Form::Json {
            answer(form, &told, |_| String::new())?;
        }
        let cluster = &action.cluster;
        match &ended.outcome {
            Outcome::Done { primary } if form == Form::Text => {
                say(&format!("{cluster} is there: {primary} is its primary"))
            }
            Outcome::Done { .. } => Ok(()),
            Outcome::Refused { reason, unblock } => {
                Err(End::Refused(format!("refused: {reason}; to go on: {unblock}")).into())
            }
            Outcome::Abandoned { reason, may_have_opened: true } => Err(End::Unknown(format!(
                "given up: {reason}; a server may have been opened: look at `millrace why {cluster}`"
            ))
            .into()),
            Outcome::Abandoned { reason, .. } => bail!("given up: {reason}; `millrace why {cluster}` says more"),
        }
    }
}
