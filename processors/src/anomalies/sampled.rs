//! Judges `samples` as `Anomalies` judges `windows`: a processor of its own, since order holds within a topic only. Samples enter, facts
//! of the journal leave about what is unusual; whether something explains it, the gate knows. States of a cluster are small, so that
//! they are stored with all its instances.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::Unusual;
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::samples::Taken;
use serde::{Deserialize, Serialize};

use super::gate::MEMBERS;
use super::signals::{Reading, Signals};
use super::{Settings, seconds};
use crate::fold::{Out, Processor};

/// A day without a sample: the place is free for another instance.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// Judges `samples`.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// How.
    pub settings: Settings,
}

/// What is known of a cluster's samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampledState(BTreeMap<InstanceId, Signals>);

impl SampledState {
    /// How many series are judged.
    pub fn series(&self) -> usize {
        self.0.len() * Signals::counted()
    }

    /// The state of an instance; none where there are too many.
    fn of(&mut self, instance: &InstanceId, now: Timestamp) -> Option<&mut Signals> {
        if self.0.len() >= MEMBERS && !self.0.contains_key(instance) {
            self.0.retain(|_, signals| now.since(signals.taken()) < FORGOTTEN);
            if self.0.len() >= MEMBERS {
                return None;
            }
        }
        Some(self.0.entry(instance.clone()).or_default())
    }
}

impl Processor for Sampled {
    const NAME: &'static str = "anomalies.samples";
    const VERSION: u32 = 1;
    type In = Taken;
    type State = SampledState;

    fn step(&self, state: &mut SampledState, event: &Event<Taken>, out: &mut Out<'_>) {
        let Taken::Sample(sample) = &event.payload;
        let Some(instance) = event.subject.instance.as_ref().filter(|_| !self.settings.off) else { return };
        let Some(signals) = state.of(instance, event.appended) else { return };
        let words = signals.sample(&sample.host, &Reading::of(sample), &self.settings, instance.as_str()).1;
        for word in words {
            let windows = word.windows.iter().copied().map(seconds).collect();
            let finding = word.finding(&event.subject.cluster, instance);
            let subject = Subject::instance(event.subject.cluster.clone(), instance.clone());
            out.emit(subject, Some(event.id), Fact::Unusual(Box::new(Unusual { finding, windows })));
        }
    }

    fn wake(&self, _: &SampledState) -> Option<Timestamp> {
        None
    }

    fn tick(&self, _: &mut SampledState, _: Timestamp, _: &mut Out<'_>) {}

    fn resume(&self, _: &mut SampledState, _: Timestamp) {}

    fn unknown_evidence(&self, _: &mut SampledState, _: &ClusterId, _: &str, _: &mut Out<'_>) {}
}
