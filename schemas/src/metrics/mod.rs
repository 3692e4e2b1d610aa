//! The metric catalogue: every number that Millrace exposes or stores, once, with unit, type, labels, source and help. `/metrics`,
//! the samples on the bus, the lines for stores and the reference page are made from it, and nothing that is not in it can be
//! counted. Numbers of servers have the names that the world's MySQL dashboards use. A Prometheus name is always its
//! (measurement, field) with an underscore between them: stores of both kinds then show the same.

/// Which servers a row of [`table`] speaks of.
macro_rules! only {
    (Both) => {
        None
    };
    ($flavour:ident) => {
        Some($crate::flavour::Flavour::$flavour)
    };
}

/// The rows of a table of numbers that servers give under names of their own.
macro_rules! table {
    ($measurement:literal, $labels:tt, $source:literal, $($kind:ident $field:literal $unit:literal $only:ident $help:literal;)*) => {
        &[$($crate::metrics::Metric {
            name: concat!($measurement, "_", $field),
            measurement: $measurement,
            field: $field,
            unit: $unit,
            kind: $crate::metrics::Type::$kind,
            labels: &$labels,
            only: only!($only),
            source: $source,
            help: $help,
        }),*]
    };
}

mod families;
mod host;
mod own;
pub mod page;
mod registry;
mod replication;
pub mod series;
mod statements;
mod status;
#[cfg(test)]
mod tests;
mod threads;
mod variables;

use std::collections::BTreeMap;
use std::sync::LazyLock;

pub use families::{Place, status_place};
pub use host::*;
pub use own::*;
pub use registry::Registry;
pub use replication::REPLICATION;
pub use statements::*;
pub use status::STATUS;
pub use threads::THREAD_STATES;
pub use variables::VARIABLES;

use crate::flavour::Flavour;

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only rises, until what counts it restarts.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Type {
    /// As Prometheus writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// One entry of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The Prometheus name: measurement and field. Our own counters end in `_total`; servers' have the name that the world knows.
    pub name: &'static str,
    /// What it is a field of, in stores that have measurements.
    pub measurement: &'static str,
    /// Which field.
    pub field: &'static str,
    /// The unit.
    pub unit: &'static str,
    /// How it behaves.
    pub kind: Type,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// The only kind of server that has it; absent: both, or none is asked.
    pub only: Option<Flavour>,
    /// Where the number comes from.
    pub source: &'static str,
    /// One sentence.
    pub help: &'static str,
}

/// The labels that say where a number is from: a sample says them once, for all its numbers.
pub const PLACE: [&str; 3] = ["cluster", "instance", "host"];

/// 2,000 series of an instance: its server has 350 to 500, its statements get the rest. A fleet of a thousand instances then stays
/// within the two millions that a store on one machine serves.
pub const SERIES_PER_INSTANCE: usize = 2_000;

/// 800 of them for a sample, which is as much again as a server gives today; the others are for statements.
pub const SERIES_PER_SAMPLE: usize = 800;

impl Metric {
    /// The labels beside those of the place.
    pub fn own_labels(&self) -> impl Iterator<Item = &'static str> {
        self.labels.iter().copied().filter(|label| !PLACE.contains(label))
    }
}

/// Every metric, in the order of the reference page.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    let tables = STATUS
        .iter()
        .chain(families::FAMILIES)
        .chain(VARIABLES)
        .chain(REPLICATION)
        .chain(threads::THREADS)
        .chain(host::SAMPLED);
    CATALOGUE.iter().chain(STATEMENTS).copied().chain(tables)
}

static BY_NAME: LazyLock<BTreeMap<&'static str, &'static Metric>> =
    LazyLock::new(|| all().map(|metric| (metric.name, metric)).collect());

/// The metric of that name.
pub fn named(name: &str) -> Option<&'static Metric> {
    BY_NAME.get(name).copied()
}
