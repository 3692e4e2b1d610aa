//! Topic `samples`: the numbers of an instance, of its host and of its replication, every 10 s. Each number is named by the text of
//! its series, as the metric catalogue has it, without the labels of the place, which the sample says once.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Topic;
use crate::event::{Payload, Subject};
use crate::ids::HostId;
use crate::metrics::series::{self, Series, Unknown};
use crate::time::Timestamp;

/// 10 s between samples: as long as a window of statements, so that both are seen beside each other.
pub const EVERY: Duration = Duration::from_secs(10);

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Taken {
    /// One sample.
    #[serde(rename = "millrace.sample.v1")]
    Sample(Sample),
}

impl Payload for Taken {
    const TOPIC: Topic = Topic::Samples;
    const KINDS: &'static [&'static str] = &["millrace.sample.v1"];
    fn key(&self, subject: &Subject) -> String {
        subject.instance.as_ref().map_or_else(String::new, |instance| instance.as_str().to_owned())
    }
}

/// The numbers of an instance at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The host whose agent took it.
    pub host: HostId,
    /// When it was taken, by the wall clock of the host.
    pub taken: Timestamp,
    /// Numbers by the text of their series: `NAME` or `NAME{label="value"}`.
    pub values: BTreeMap<String, f64>,
    /// Series that were left out, because there were more than an instance may have.
    #[serde(default)]
    pub left_out: u64,
}

impl Sample {
    /// The numbers whose series this version knows, and how many it does not know: a newer agent has more.
    pub fn known(&self) -> (Vec<(Series, f64)>, u64) {
        let mut unknown = 0;
        let mut known = Vec::with_capacity(self.values.len());
        for (text, value) in &self.values {
            match series::parse(text) {
                Ok(series) => known.push((series, *value)),
                Err(Unknown::Name | Unknown::Labels) => unknown += 1,
            }
        }
        (known, unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_newer_agent_are_counted_and_skipped() {
        let values = [("mysql_up", 1.0), ("mysql_of_the_future", 2.0), ("mysql_up{a=\"b\"}", 3.0)];
        let values = values.map(|(series, value)| (series.to_owned(), value)).into();
        let host = HostId::parse("h1").expect("legal");
        let sample = Sample { host, taken: Timestamp(0), values, left_out: 0 };
        let (known, unknown) = sample.known();
        assert_eq!((known.len(), known[0].0.metric.name, known[0].1, unknown), (1, "mysql_up", 1.0, 2));
    }
}
