//! What a rule is, checked: which number is judged, by which limit, and what is said of it. Made by `parse` from text, read by the
//! engine, the tables of the command line and the export. Nothing here can be wrong any more.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::metrics::{Metric, Type};
use millrace_schemas::topics::alerts::Severity;
use serde::{Deserialize, Serialize};

use super::facts;
use super::summary::Template;

/// Which topic a rule folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// `samples`: every 10 s.
    Samples,
    /// `journal`: heartbeats every second, loads of windows every 10 s.
    Journal,
}

impl Input {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Journal => "journal",
        }
    }

    /// How long a series may say nothing before time is unknown: three and a half samples; five heartbeats, but two and a half
    /// windows, since both are in the journal.
    pub(super) fn hole(self, metric: Option<&Metric>) -> Duration {
        match (self, metric) {
            (Self::Samples, _) => Duration::from_secs(35),
            (Self::Journal, Some(metric)) if facts::is_load(metric) => Duration::from_secs(25),
            (Self::Journal, _) => Duration::from_secs(5),
        }
    }
}

/// What an instance is among the others, by its heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The one that is open, or was last.
    Primary,
    /// All others.
    Replica,
}

/// How the number of a rule is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Judge {
    /// The metric as it is, or divided by another one.
    Threshold,
    /// What a counter rises by in a second, over a span; or divided by what another one rises by.
    Rate {
        /// The span.
        span: Duration,
    },
    /// Hours until the line through the last values reaches a limit.
    Forecast {
        /// The span that the line is laid through.
        span: Duration,
        /// The limit.
        reaches: f64,
        /// Only while the value itself is below this.
        only_below: Option<f64>,
    },
    /// How many times as much as the median of the other instances of the cluster.
    Peers,
    /// How many times as much as in the same hours before.
    History {
        /// Against the same hour of the day before.
        yesterday: bool,
        /// Against the same hour of the week before.
        last_week: bool,
    },
    /// How long nothing was said.
    Absence,
    /// How often a state changed in a span.
    Change {
        /// The span.
        span: Duration,
    },
    /// Nothing: it always holds.
    Always,
}

impl Judge {
    /// As it is written in the file.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Threshold => "threshold",
            Self::Rate { .. } => "rate",
            Self::Forecast { .. } => "forecast",
            Self::Peers => "peers",
            Self::History { .. } => "history",
            Self::Absence => "absence",
            Self::Change { .. } => "change",
            Self::Always => "always",
        }
    }
}

/// Which side of a limit is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// More than the limit.
    Above,
    /// Less than the limit.
    Below,
}

/// A limit with what is needed to pass it, either way. Equal to the limit is not beyond it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Which side is bad.
    pub side: Side,
    /// Beyond it the rule holds.
    pub at: f64,
    /// Not beyond this any more, it is over.
    pub clear: f64,
    /// Beyond this it is critical.
    pub critical: Option<f64>,
    /// For so long it must hold without a hole before it is told.
    pub lasts: Duration,
}

impl Limit {
    pub(super) fn beyond(&self, value: f64, limit: f64) -> bool {
        match self.side {
            Side::Above => value > limit,
            Side::Below => value < limit,
        }
    }
}

/// Another limit for a cluster or an instance, or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The cluster; absent: all.
    pub cluster: Option<ClusterId>,
    /// The instance; absent: all.
    pub instance: Option<InstanceId>,
    /// The limit; absent: the rule is off there.
    pub limit: Option<Limit>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name, which is that of the alert.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// Whether anybody is notified.
    pub notifies: bool,
    /// What is said.
    pub summary: Template,
    /// The page that says what to do.
    pub runbook: String,
    /// How the number is made.
    pub judge: Judge,
    /// The topic.
    pub input: Input,
    /// What is judged; absent: nothing, or that an instance speaks at all.
    pub metric: Option<&'static Metric>,
    /// By what it is divided.
    pub per: Option<&'static Metric>,
    /// Only series with these labels.
    pub only: BTreeMap<String, String>,
    /// Only instances that are this.
    pub role: Option<Role>,
    /// Smaller values of the metric itself are nothing to speak of.
    pub minimum: Option<f64>,
    /// The limit.
    pub limit: Limit,
    /// Where it is another one; the last that fits holds.
    pub overrides: Vec<Override>,
    /// The file that it is from is the user's.
    pub changed: bool,
}

/// The unit of the number that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of one.
    Share,
    /// How many times as much.
    Times,
    /// Seconds.
    Seconds,
    /// Hours.
    Hours,
    /// Bytes.
    Bytes,
    /// Yes or no.
    Boolean,
    /// A number of something.
    Of(&'static str),
    /// A number of something in a second.
    PerSecond(&'static str),
    /// Nothing is judged.
    None,
}

impl Rule {
    /// The unit of the number that is judged.
    pub fn unit(&self) -> Unit {
        let unit = self.metric.map_or("", |metric| metric.unit);
        match self.judge {
            Judge::Always => Unit::None,
            Judge::Absence => Unit::Seconds,
            Judge::Forecast { .. } => Unit::Hours,
            Judge::Peers | Judge::History { .. } => Unit::Times,
            Judge::Change { .. } => Unit::Of("changes"),
            Judge::Threshold | Judge::Rate { .. } if self.is_share() => Unit::Share,
            Judge::Threshold | Judge::Rate { .. } if self.per.is_some() => Unit::Of(unit),
            Judge::Rate { .. } => Unit::PerSecond(unit),
            Judge::Threshold => plain(unit),
        }
    }

    /// One number of a kind divided by another of it, which cannot be less: a part of the whole.
    fn is_share(&self) -> bool {
        let whole = self.limit.at <= 1.0;
        whole && self.metric.zip(self.per).is_some_and(|(one, other)| one.unit == other.unit)
    }

    /// Whether it is about instances, or hosts, or the cluster.
    pub fn about(&self) -> &'static str {
        let has = |label: &str| self.metric.is_none_or(|metric| metric.labels.contains(&label));
        match self.judge {
            Judge::Always => "cluster",
            _ if has("instance") => "instance",
            _ if has("host") => "host",
            _ => "cluster",
        }
    }

    /// The limit for an instance of a cluster; `None` where the rule is off.
    pub fn limit_for(&self, cluster: &ClusterId, instance: Option<&InstanceId>) -> Option<Limit> {
        let fits = |one: &&Override| {
            one.cluster.as_ref().is_none_or(|only| only == cluster)
                && one.instance.as_ref().is_none_or(|only| Some(only) == instance)
        };
        self.overrides.iter().rev().find(fits).map_or(Some(self.limit), |one| one.limit)
    }
}

fn plain(unit: &'static str) -> Unit {
    match unit {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        "boolean" => Unit::Boolean,
        "ratio" => Unit::Share,
        other => Unit::Of(other),
    }
}

/// Where a metric can be judged; `None` for what is told at `/metrics` only.
pub fn input_of(metric: &Metric) -> Option<Input> {
    if facts::JOURNAL.iter().any(|known| known.name == metric.name) {
        return Some(Input::Journal);
    }
    let sampled = facts::SAMPLED.iter().any(|known| known.name == metric.name);
    let table = ["mysql_global_status", "mysql_global_variables", "mysql_slave_status", "millrace_host"];
    (sampled || table.contains(&metric.measurement)).then_some(Input::Samples)
}

/// A counter says nothing without a rate.
pub(super) fn is_counter(metric: &Metric) -> bool {
    metric.kind == Type::Counter
}
