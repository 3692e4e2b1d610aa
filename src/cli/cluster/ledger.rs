//! The journal for an operator's command: from the newest snapshot on, folded as the deciders fold it; a word is appended, and
//! what follows is told until the action that it led to has ended.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_processors::Folds;
use millrace_processors::failover::{Failover, State};
use millrace_schemas::cluster::Mode;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, Epoch, EventId, HostId, InstanceId};
use millrace_schemas::record::Record;
use millrace_schemas::signing::Refusal;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::Action;
use millrace_schemas::topics::inventory::Item;
use millrace_schemas::topics::journal::{Command, Ended, Fact, Outcome};
use serde::Serialize;

use super::super::End;
use super::super::output::{Form, answer, say};
use super::super::site::trusted;
use crate::bus::{Assignment, From, Polled, Reader, SharedBus};
use crate::config;
use crate::journal::why::describe;
use crate::journal::{SCHEMA_VERSION, appended_to};
use crate::roles::process::restored;
use crate::roles::speaker::Speaker;

/// 200 ms per poll.
const POLL: Duration = Duration::from_millis(200);
/// 5 s for what is in the journal already.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// 10 s until somebody takes what was asked: deciders and executors answer in milliseconds, or do not run.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// 4 minutes until it has ended: the longest action, the creation of a cluster, has three.
const ENDED_WITHIN: Duration = Duration::from_mins(4);

pub(super) struct Ledger {
    bus: SharedBus,
    folds: Folds<Failover>,
    reader: Box<dyn Reader>,
    speaker: Speaker,
    /// What came after the operator's own word, in the same poll.
    ahead: Vec<Record>,
    /// Why the newest word was not believed, if that was said: partition, offset, reason.
    refused: Vec<(u32, u64, Refusal)>,
    /// False when nobody has the bus but this command: then nothing is done until somebody runs.
    runs: bool,
}

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

impl Ledger {
    /// The journal of the site that the configuration describes, read up to now.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let settings = config::load(path)?;
        let (bus, runs) = trusted(&settings)?;
        let user = rustix::process::getuid().as_raw();
        let speaker = Speaker::new(format!("operator/{}-{user}", settings.name), settings.bus.state(), bus.clone())?;
        let folds = restored(&bus, Failover)?;
        let reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Offsets(folds.next()))]))?;
        let mut ledger = Self { bus, folds, reader, speaker, ahead: Vec::new(), refused: Vec::new(), runs };
        ledger.catch_up()?;
        Ok(ledger)
    }

    pub(super) fn clusters(&self) -> impl Iterator<Item = (&ClusterId, &State)> {
        self.folds.clusters()
    }

    pub(super) fn state(&self, cluster: &ClusterId) -> Option<&State> {
        self.folds.state(cluster)
    }

    /// The bus's time, as far as the journal was read.
    pub(super) fn now(&self) -> Timestamp {
        self.folds.now()
    }

    /// The state of a cluster that was declared.
    pub(super) fn known(&self, cluster: &ClusterId) -> anyhow::Result<&State> {
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
        self.say(cluster, Command::SetMode { mode: Mode::Observe })?;
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

    /// Says `command` and waits until it is in the journal. The id of the fact.
    pub(super) fn say(&mut self, cluster: &ClusterId, command: Command) -> anyhow::Result<EventId> {
        let subject = Subject::cluster(cluster.clone());
        let landed = self.speaker.say(subject, None, Fact::Command(command)).wait().context("it was not said")?;
        let place = *landed.first().context("the bus did not say where it landed")?;
        let until = Instant::now() + READ_WITHIN;
        while Instant::now() < until {
            let mut records = self.poll()?.into_iter();
            let refused =
                self.refused.drain(..).find(|(at, offset, _)| (*at, *offset) == (place.partition, place.offset));
            if let Some((.., why)) = refused {
                let as_whom = self.speaker.source();
                return Err(End::Refused(format!("nobody believes {as_whom}: {why}; nothing was changed")).into());
            }
            if let Some(record) = records.find(|one| (one.partition, one.offset) == (place.partition, place.offset)) {
                self.ahead = records.collect();
                return Ok(Event::<Fact>::from_record(&record)?.id);
            }
        }
        Err(End::Unknown("it was said, and did not come back from the bus: look at `millrace cluster list`".to_owned())
            .into())
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

    fn catch_up(&mut self) -> anyhow::Result<()> {
        let mut last = Instant::now();
        loop {
            if !self.poll()?.is_empty() {
                last = Instant::now();
            }
            if self.reader.unread()?.is_empty() {
                return Ok(());
            }
            if last.elapsed() > READ_WITHIN {
                bail!("the journal could not be read to its end: nothing came for {} s", READ_WITHIN.as_secs());
            }
        }
    }

    fn poll(&mut self) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        self.refused.clear(); // only the newest word is of interest
        for item in self.reader.poll(POLL)? {
            match item {
                Polled::Record(record) => {
                    self.folds.fold(&record);
                    records.push(record);
                }
                Polled::Refused { record, why } => self.refused.push((record.partition, record.offset, why)),
                Polled::Gained { .. } | Polled::Lost { .. } => {}
            }
        }
        Ok(records)
    }
}
