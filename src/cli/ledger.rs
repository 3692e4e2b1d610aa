//! The journal for an operator's word: from the newest snapshot on, folded as the processors fold it; a word is appended, and
//! waited for.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_processors::{Folds, Processor};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::record::Record;
use millrace_schemas::signing::Refusal;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;

use super::End;
use super::site::trusted;
use crate::bus::{Assignment, From, Polled, Reader, SharedBus};
use crate::config;
use crate::roles::process::restored;
use crate::roles::speaker::Speaker;

/// 200 ms per poll.
const POLL: Duration = Duration::from_millis(200);
/// 5 s for what is in the journal already.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// The journal, as a processor knows it.
pub(super) struct Ledger<P: Processor + Clone> {
    pub(super) bus: SharedBus,
    folds: Folds<P>,
    reader: Box<dyn Reader>,
    speaker: Speaker,
    /// What came after the operator's own word, in the same poll.
    pub(super) ahead: Vec<Record>,
    /// Why the newest word was not believed, if that was said: partition, offset, reason.
    refused: Vec<(u32, u64, Refusal)>,
    /// False when nobody has the bus but this command: then nothing is done until somebody runs.
    pub(super) runs: bool,
}

impl<P: Processor<In = Fact> + Clone> Ledger<P> {
    /// The journal of the site that the configuration describes, read up to now.
    pub(super) fn open(path: &Path, processor: P) -> anyhow::Result<Self> {
        let settings = config::load(path)?;
        let (bus, runs) = trusted(&settings)?;
        let user = rustix::process::getuid().as_raw();
        let speaker = Speaker::new(format!("operator/{}-{user}", settings.name), settings.bus.state(), bus.clone())?;
        let folds = restored(&bus, processor)?;
        let reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Offsets(folds.next()))]))?;
        let mut ledger = Self { bus, folds, reader, speaker, ahead: Vec::new(), refused: Vec::new(), runs };
        ledger.catch_up()?;
        Ok(ledger)
    }

    pub(super) fn clusters(&self) -> impl Iterator<Item = (&ClusterId, &P::State)> {
        self.folds.clusters()
    }

    pub(super) fn state(&self, cluster: &ClusterId) -> Option<&P::State> {
        self.folds.state(cluster)
    }

    /// The bus's time, as far as the journal was read.
    pub(super) fn now(&self) -> Timestamp {
        self.folds.now()
    }

    /// Says `fact` and waits until it is in the journal. The id of the fact.
    pub(super) fn say(&mut self, cluster: &ClusterId, fact: Fact) -> anyhow::Result<EventId> {
        let subject = Subject::cluster(cluster.clone());
        let landed = self.speaker.say(subject, None, fact).wait().context("it was not said")?;
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
        Err(End::Unknown("it was said, and did not come back from the bus: ask again what the journal has".to_owned())
            .into())
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

    pub(super) fn poll(&mut self) -> anyhow::Result<Vec<Record>> {
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
